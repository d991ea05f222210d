"""What people look at: who they are, how many jobs there are, how far one has come, what lets a thing in."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schema.commands import Command, Page
from schema.fields import PageToken, QueryString, ThingName
from schema.limits import PROGRESS_BUCKET_SECONDS, PROGRESS_THINGS

Serial = Annotated[str, Field(pattern=r"^[0-9a-f]{1,40}$")]


class WhoAmI(Command):
    """operators/whoami: the operator that a token belongs to."""


class ShowSystem(Command):
    """system/get: how the installation does, as far as it is the tenant's business."""


class CountJobs(Command):
    """jobs/counts: how many jobs are in each status, up to a bound."""


class JobProgress(Command):
    """jobs/{id}/progress: a page of a job's things by name, in as few bytes as it takes to draw them."""

    most_things: Annotated[int, Field(ge=1, le=PROGRESS_THINGS)] = PROGRESS_THINGS
    bucket_seconds: Annotated[int, Field(ge=1, le=PROGRESS_BUCKET_SECONDS)] | None = None
    include_names: bool = False
    next_token: PageToken | None = None


class SearchThings(Page):
    """things/search: things that a dynamic group of this query would have (AWS: SearchIndex, with names alone)."""

    query_string: QueryString


class ListCredentials(Command):
    """credentials/list: of a thing, without what is secret."""

    thing_name: ThingName


class IssueCredential(Command):
    """credentials/issue: a new token for a thing, shown this once; the one it had stops working."""

    thing_name: ThingName


class RevokeCredentials(Command):
    """credentials/revoke: take a thing's credentials away: all, those of a kind, or one certificate."""

    thing_name: ThingName
    kind: Literal["token", "certificate"] | None = None
    serial: Serial | None = None
