"""Background work on one job that failed: it is told of and stays owed, and the work on other jobs goes on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    """Work (ROLLOUT, GATES, SCHEDULE, ...) on one job that failed for a reason of ours."""

    tenant_id: str
    job_id: str
    work: str
    error: Exception
