"""What every configuration of a job is made of: one model on the wire, in the job's row and in what is computed.

A configuration is stored as it was sent, as JSON text in AWS's spelling, so that DescribeJob gives back what CreateJob
was given and a row can be read without this program.
"""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from schema.limits import THINGS_COUNTED


class Config(BaseModel):
    """An object of a job's configuration: AWS's names, nothing unknown, nothing converted, never changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=to_camel)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The configuration in a row. Raises pydantic's ValidationError when `text` was not made by `to_text`."""
        return cls.model_validate_json(text)

    def to_text(self) -> str:
        """The configuration as a row holds it and as DescribeJob shows it: JSON without what was left out."""
        return self.model_dump_json(by_alias=True, exclude_none=True)


def decimals(most: int) -> AfterValidator:
    """A check that a number has at most so many digits after the point (AWS: incrementFactor, thresholdPercentage)."""

    def check(value: float) -> float:
        if round(value, most) != value:
            msg = f"has more than {most} digit{'s' if most > 1 else ''} after the point"
            raise ValueError(msg)
        return value

    return AfterValidator(check)


def hundredths(percentage: float) -> int:
    """A percentage of at most two digits after the point as a whole number: what comparisons are exact with."""
    return round(percentage * 100)


Things = Annotated[int, Field(ge=1, le=THINGS_COUNTED)]
Percentage = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False), decimals(2)]
# Of everything, in hundredths of a percent.
WHOLE: Final = 10_000
