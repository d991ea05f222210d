"""A job's things by the status of their latest execution, and the sums that rollouts, aborts and gates are made of."""

from __future__ import annotations

from typing import NamedTuple


class Counts(NamedTuple):
    """One row of job_counts, or one stage's share of it. Each thing is counted once, by its latest execution.

    AWS leaves open whether jobProcessDetails counts things or executions where there are retries (reference 5.4); the
    names say things, so a thing that is tried again counts as queued and no longer as failed.
    """

    queued: int = 0
    in_progress: int = 0
    succeeded: int = 0
    failed: int = 0
    timed_out: int = 0
    rejected: int = 0
    removed: int = 0
    canceled: int = 0

    @property
    def notified(self) -> int:
        """Things that were given an execution, whatever became of it (AWS: numberOfNotifiedThings)."""
        return sum(self)

    @property
    def completed(self) -> int:
        """Things that came to an end of their own: succeeded, failed, timed out or rejected.

        AWS does not say whether canceled and removed ones count (reference 5.2). Here they don't: nobody carried them
        out, so they say nothing of the document and would only hide how many of the others fail.
        """
        return self.succeeded + self.bad

    @property
    def bad(self) -> int:
        """Things that failed, timed out or rejected: AWS's failureType ALL."""
        return self.failed + self.timed_out + self.rejected

    @property
    def ended(self) -> int:
        """Things that no longer have a live execution."""
        return self.completed + self.removed + self.canceled
