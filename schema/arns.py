"""ARNs, to and from names (AWS: "Resource types defined by AWS IoT")."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

# Any region and account, so that scripts written for AWS keep their ARNs; the name decides.
_HOME: Final = r"arn:aws[a-z-]{0,16}:iot:[a-zA-Z0-9-]{0,64}:[a-zA-Z0-9-]{0,32}:"
_JOB: Final = re.compile(_HOME + r"job/(?P<id>[a-zA-Z0-9_-]{1,64})")
_TARGET: Final = re.compile(_HOME + r"(?P<kind>thing|thinggroup)/(?P<name>[a-zA-Z0-9:_-]{1,128})")

TargetKind = Literal["thing", "thinggroup", "all"]


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a job is for: one thing, one group with its child groups, or everything (the name is then `*`)."""

    kind: TargetKind
    name: str
    arn: str


@dataclass(frozen=True, slots=True)
class Home:
    """The AWS region and account that a tenant's ARNs speak of."""

    region: str
    account: str

    def arn(self, kind: Literal["thing", "thinggroup", "job"], name: str) -> str:
        """The ARN of a thing, a group or a job of this tenant."""
        return f"arn:aws:iot:{self.region}:{self.account}:{kind}/{name}"

    def target(self, kind: TargetKind, name: str) -> Target:
        """A target by name; everything is written as the thing `*`, for which AWS has no ARN."""
        return Target(kind, name, self.arn("thing" if kind == "all" else kind, name))


def parse_job(arn: str) -> str:
    """The id of the job that an ARN names. Raises ValueError saying which form is expected."""
    found = _JOB.fullmatch(arn)
    if found is None:
        msg = "is not arn:aws:iot:REGION:ACCOUNT:job/ID"
        raise ValueError(msg)
    return found["id"]


def parse_target(arn: str) -> Target:
    """The target an ARN names. Raises ValueError saying which form is expected."""
    found = _TARGET.fullmatch(arn)
    if found is None:
        msg = "is not arn:aws:iot:REGION:ACCOUNT:thing/NAME or ...:thinggroup/NAME"
        raise ValueError(msg)
    kind: TargetKind = "thing" if found["kind"] == "thing" else "thinggroup"
    return Target(kind, found["name"], arn)
