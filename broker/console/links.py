"""What of a page stands in its URL, so that it can be sent to somebody and comes back as it was."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode


def with_query(path: str, said: Mapping[str, str | None]) -> str:
    """A path with what is said in its query; what is empty is left out."""
    query = urlencode({name: value for name, value in said.items() if value})
    return f"{path}?{query}" if query else path


def job_path(job_id: str) -> str:
    """A job's page."""
    return f"/jobs/{quote(job_id, safe='')}"


def execution_path(job_id: str, thing: str) -> str:
    """The page of a job on one thing."""
    return f"{job_path(job_id)}/things/{quote(thing, safe='')}"


def thing_path(thing: str) -> str:
    """A thing's page."""
    return f"/things/{quote(thing, safe='')}"


def group_path(group: str) -> str:
    """A group's page."""
    return f"/groups/{quote(group, safe='')}"


def clone_path(job_id: str) -> str:
    """The form for a new job that begins as this one."""
    return with_query("/new", {"clone": job_id})
