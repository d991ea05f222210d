"""A rollout in stages: a few things first, and the rest only once those have succeeded. Beyond AWS.

A stage reaches up to a share or number of all the job's things, counted from the first: 5 %, 25 %, 100 % are three
stages that hold 5, 20 and 75 percent; 10, 200 and no size are the first ten, the next 190 and the rest. A stage by
group or attribute holds whatever fits of those that no earlier stage has. The last stage must reach everything, because
a thing that no stage reaches would wait for ever. Inside a stage the rollout rate holds as without stages.

The words are hawkBit's in other names ("Rollout management"): a success threshold that starts the next group or pauses,
an error threshold in percent or things, the next group triggered by hand, the failed retried. Two things differ: shares
are of all things instead of those left over, and a stage that has done its part may soak before the next one starts.

Decided here:
- Shares are of the stage's things without those canceled or removed, and so a thing not told yet is one that has not
  succeeded. A job's abort criteria, over what has completed, go on beside the stages.
- A share of things is rounded up, and a stage to which none are left has its gate open.
- Late joiners of a continuous job belong to the stage that runs; its gate closes again if that takes it below.
- Error thresholds are watched in every stage that has started: a late failure of the first counts in the third.
- An operator who resumes a job, or starts the next stage by hand, has seen the failures so far: only another one pauses
  or cancels it again.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from schema.configs import WHOLE, Config, Percentage, Things, hundredths
from schema.fields import AttributeName, AttributeValue, GroupName
from schema.limits import SOAK_MINUTES, STAGES


class SuccessAction(StrEnum):
    """What an open gate does: start the next stage, or pause the job until somebody starts it (hawkBit: PAUSE)."""

    START_NEXT = "START_NEXT"
    PAUSE = "PAUSE"


class ErrorAction(StrEnum):
    """What too many failures in a stage do. A cancel is CancelJob without force, as an abort's."""

    PAUSE = "PAUSE"
    CANCEL = "CANCEL"


class StageAttribute(Config):
    """Things whose attribute has this value."""

    name: AttributeName
    value: AttributeValue


class Stage(Config):
    """One stage: how far it reaches, and its gate. Without a size it reaches everything.

    successPercentage of its things, 100 unless given, must have succeeded and soakMinutes have passed since, before its
    gate opens. errorPercentage of its things, or numberOfFailures, having failed, timed out or rejected stops the job;
    without either nothing does, but a gate out of reach pauses it.
    """

    percentage: Annotated[Percentage, Field(gt=0)] | None = None
    number_of_things: Things | None = None
    thing_group_name: GroupName | None = None
    attribute: StageAttribute | None = None
    success_percentage: Percentage = 100.0
    soak_minutes: Annotated[int, Field(ge=0, le=SOAK_MINUTES)] = 0
    success_action: Annotated[SuccessAction, Field(strict=False)] = SuccessAction.START_NEXT
    error_percentage: Annotated[Percentage, Field(gt=0)] | None = None
    number_of_failures: Things | None = None
    error_action: Annotated[ErrorAction, Field(strict=False)] = ErrorAction.PAUSE

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        sizes = (self.percentage, self.number_of_things, self.thing_group_name, self.attribute)
        if sum(size is not None for size in sizes) > 1:
            msg = (
                "has more than one of percentage, numberOfThings, thingGroupName and attribute; "
                "at most one is allowed"
            )
            raise ValueError(msg)
        return self

    @property
    def by_match(self) -> bool:
        """Whether it holds what fits a group or an attribute instead of so many."""
        return self.thing_group_name is not None or self.attribute is not None

    @property
    def size(self) -> tuple[object, ...]:
        """What says how far it reaches."""
        rest = True if self.is_rest else None
        return (
            rest or self.percentage,
            self.number_of_things,
            self.thing_group_name,
            self.attribute,
        )

    @property
    def is_rest(self) -> bool:
        """Whether nothing is left after it."""
        return self.percentage == 100 or (  # noqa: PLR2004 - everything, in percent
            self.percentage is None and self.number_of_things is None and not self.by_match
        )

    def reach(self, things: int) -> int | None:
        """How many of all the job's things it and the earlier ones hold; None where that is for the match to say."""
        if self.by_match:
            return None
        if self.number_of_things is not None:
            return min(things, self.number_of_things)
        if self.percentage is None:
            return things
        return -(-things * hundredths(self.percentage) // WHOLE)


def _ordered(value: tuple[Stage, ...]) -> tuple[Stage, ...]:
    if not value[-1].is_rest:
        msg = f"[{len(value) - 1}] must reach every thing: percentage 100, or no size at all"
        raise ValueError(msg)
    for place, stage in enumerate(value[:-1]):
        if stage.is_rest:
            msg = f"[{place}] reaches every thing, but is not the last"
            raise ValueError(msg)
    _rising([(place, stage.percentage) for place, stage in enumerate(value)], "percentage")
    _rising(
        [(place, stage.number_of_things) for place, stage in enumerate(value)], "numberOfThings"
    )
    return value


def _rising(sizes: list[tuple[int, float | None]], field: str) -> None:
    before = 0.0
    for place, size in sizes:
        if size is None:
            continue
        if size <= before:
            msg = f"[{place}].{field}: {size:g} is not more than the {before:g} reached before it"
            raise ValueError(msg)
        before = size


Stages = Annotated[
    tuple[Stage, ...],
    Field(strict=False, min_length=1, max_length=STAGES),
    AfterValidator(_ordered),
]


def sizes(stages: tuple[Stage, ...], things: int, matched: tuple[int | None, ...]) -> list[int]:
    """How many things each stage holds, of `things` altogether; they add up to it.

    Stages are filled in order, each from what the earlier ones left. matched has, for a stage by group or attribute,
    how many of those left fit it; what it has for the others is not looked at.
    """
    held: list[int] = []
    for stage, found in zip(stages, matched, strict=True):
        so_far = sum(held)
        reach = stage.reach(things)
        here = (found or 0) if reach is None else reach - so_far
        held.append(max(0, min(here, things - so_far)))
    return held
