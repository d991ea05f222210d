"""Tags of jobs, job templates and groups: keys, values, and the ARNs of what can have some (AWS: Tag)."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import AfterValidator, Field

from schema.configs import Config
from schema.limits import TAGS

# AWS: letters, numbers and spaces of any script, and _ . : / = + - @
_WORDS: Final = re.compile(r"[\w .:/=+\-@]*")
_ARN: Final = re.compile(
    r"arn:aws[a-z-]{0,16}:iot:[a-zA-Z0-9-]{0,64}:[a-zA-Z0-9-]{0,32}:"
    r"(?P<kind>job|jobtemplate|thinggroup)/(?P<name>[a-zA-Z0-9:_-]{1,128})"
)


def _words(text: str) -> str:
    if _WORDS.fullmatch(text) is None:
        msg = "has other characters than letters, numbers, spaces and _ . : / = + - @"
        raise ValueError(msg)
    return text


def _ours(key: str) -> str:
    if key.lower().startswith("aws:"):
        msg = "begins with aws:, which AWS keeps for itself"
        raise ValueError(msg)
    return key


TagKey = Annotated[
    str, Field(min_length=1, max_length=128), AfterValidator(_words), AfterValidator(_ours)
]
TagValue = Annotated[str, Field(max_length=256), AfterValidator(_words)]


class Tag(Config):
    """AWS: Tag, whose members are written with capitals."""

    key: TagKey = Field(alias="Key")
    value: TagValue = Field("", alias="Value")


class Resource(NamedTuple):
    """What tags can be on."""

    kind: Literal["job", "jobtemplate", "thinggroup"]
    name: str


def _once(tags: tuple[Tag, ...]) -> tuple[Tag, ...]:
    keys = [one.key for one in tags]
    for key in keys:
        if keys.count(key) > 1:
            msg = f"the key {key!r} stands twice"
            raise ValueError(msg)
    return tags


def parse_resource(arn: str) -> Resource:
    """What an ARN names. Raises ValueError saying which forms are expected."""
    found = _ARN.fullmatch(arn)
    if found is None:
        msg = "is not arn:aws:iot:REGION:ACCOUNT:job/ID, ...:jobtemplate/ID or ...:thinggroup/NAME"
        raise ValueError(msg)
    kind: Literal["job", "jobtemplate", "thinggroup"] = found["kind"]  # type: ignore[assignment]  # the pattern has no other
    return Resource(kind, found["name"])


def _arn(arn: str) -> str:
    parse_resource(arn)
    return arn


ResourceArn = Annotated[str, Field(min_length=1, max_length=2048), AfterValidator(_arn)]
Tags = Annotated[tuple[Tag, ...], Field(strict=False, max_length=TAGS), AfterValidator(_once)]


def as_mapping(tags: tuple[Tag, ...]) -> dict[str, str]:
    """Tags by key, as rows hold them."""
    return {one.key: one.value for one in tags}
