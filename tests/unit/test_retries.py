"""Retries: which failures, how often, and what ends them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.lifecycle import TERMINAL, JobStatus, Status
from schema.retries import (
    Attempts,
    Decision,
    JobNow,
    RetryConfig,
    attempts_of,
    decide,
)
from tests.unit.configs import told

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
RUNNING = JobNow(JobStatus.IN_PROGRESS)


def config(**retries: int) -> RetryConfig:
    """A configuration with so many retries for each kind."""
    return RetryConfig.model_validate(
        {
            "criteriaList": [
                {"failureType": kind, "numberOfRetries": most} for kind, most in retries.items()
            ]
        }
    )


def decided(
    sent: RetryConfig | None, *history: Status, job: JobNow = RUNNING, now: datetime = NOW
) -> Decision:
    """What becomes of a thing whose attempts ended so, the last one just now."""
    return decide(sent, history[-1], attempts_of(history), job=job, now=now)


F, T = Status.FAILED, Status.TIMED_OUT


@pytest.mark.parametrize(
    ("retries", "history", "retry"),
    [
        ({"FAILED": 2}, [F], True),
        ({"FAILED": 2}, [F, F], True),
        ({"FAILED": 2}, [F, F, F], False),
        ({"FAILED": 2}, [T], False),
        ({"FAILED": 0}, [F], False),
        ({"TIMED_OUT": 1}, [T], True),
        ({"TIMED_OUT": 1}, [T, T], False),
        ({"TIMED_OUT": 1}, [F], False),
        ({"FAILED": 1, "TIMED_OUT": 1}, [F, T], True),
        ({"FAILED": 1, "TIMED_OUT": 1}, [F, T, F], False),
        ({"ALL": 2}, [F, T], True),
        ({"ALL": 2}, [F, T, F], False),
        ({"ALL": 1, "FAILED": 2}, [F, F], True),
        ({"ALL": 1, "FAILED": 2}, [F, T], False),
        ({"FAILED": 1, "ALL": 3}, [F, F, F], True),
        ({"FAILED": 10, "TIMED_OUT": 10}, [F, T] * 5, True),
        ({"FAILED": 10, "TIMED_OUT": 10}, [F, T] * 5 + [F], False),
    ],
)
def test_attempts_left(retries: dict[str, int], history: list[Status], retry: bool) -> None:
    """A retry is made while the failure's criterion, or ALL, has one left, and ten at most altogether."""
    assert decided(config(**retries), *history).retry is retry


@pytest.mark.parametrize("ended", sorted(TERMINAL - {F, T}))
def test_never_retried(ended: Status) -> None:
    """Succeeded, rejected, canceled and removed executions are the last."""
    assert decided(config(ALL=10), ended) == Decision(f"{ended} is not retried")


def test_no_config_no_retry() -> None:
    """A job without jobExecutionsRetryConfig tries once."""
    assert decided(None, F) == Decision("the job has no jobExecutionsRetryConfig")


@pytest.mark.parametrize(
    ("status", "retry"),
    [
        (JobStatus.IN_PROGRESS, True),
        (JobStatus.SCHEDULED, True),
        (JobStatus.COMPLETED, False),
        (JobStatus.CANCELED, False),
        (JobStatus.DELETION_IN_PROGRESS, False),
    ],
)
def test_only_a_live_job_retries(status: JobStatus, retry: bool) -> None:
    """A device of a canceled job may still fail, without another try; between windows the retry is queued."""
    assert decided(config(ALL=3), F, job=JobNow(status)).retry is retry


def test_no_retry_after_the_end() -> None:
    """Up to the job's end there are retries, from that moment on there are none."""
    ends = JobNow(JobStatus.IN_PROGRESS, NOW)
    assert decided(config(ALL=3), T, job=ends, now=NOW - timedelta(microseconds=1)).retry
    assert decided(config(ALL=3), T, job=ends) == Decision("the job's end has passed")


def test_reasons() -> None:
    """An execution's timeline says which retry of how many it is, or why there is none."""
    assert decided(config(ALL=3), F, T).reason == "retry 2 of 3 after ALL"
    assert decided(config(FAILED=1), F, F).reason == "all 1 retries after FAILED are used up"
    assert decided(config(FAILED=1), T).reason == "no criterion retries TIMED_OUT"
    assert decided(config(FAILED=10, TIMED_OUT=10), *[F, T] * 6).reason.startswith("10 retries")


def test_what_is_counted() -> None:
    """The attempts that are given, those since the thing became a target; the first one is no retry."""
    assert not decided(config(FAILED=1), F, F).retry
    assert decided(config(FAILED=1), F).retry
    assert (Attempts().retries, Attempts(1, 0).retries, Attempts(2, 3).retries) == (0, 0, 4)


@given(
    retries=st.dictionaries(
        st.sampled_from(["FAILED", "TIMED_OUT", "ALL"]), st.integers(0, 10), min_size=1, max_size=2
    ),
    fates=st.lists(st.sampled_from([F, T]), min_size=30, max_size=30),
)
def test_a_thing_that_always_fails_comes_to_an_end(
    retries: dict[str, int], fates: list[Status]
) -> None:
    """However it fails, a thing gets at most ten retries and no more than its criteria add up to."""
    sent = config(**retries)
    history = [fates[0]]
    while decided(sent, *history).retry:
        history.append(fates[len(history)])
    assert len(history) - 1 <= min(10, sum(retries.values()))


@pytest.mark.parametrize(
    ("criteria", "says"),
    [
        ([], "criteriaList: has 0 entries, at least 1"),
        ([("FAILED", 1), ("TIMED_OUT", 1), ("ALL", 1)], "criteriaList: has 3 entries, at most 2"),
        ([("FAILED", 11)], "0.numberOfRetries: 11: .*10$"),
        ([("FAILED", -1)], "0.numberOfRetries: -1: .*0$"),
        ([("REJECTED", 1)], "0.failureType: 'REJECTED': .*'ALL'"),
        ([("FAILED", 1), ("FAILED", 2)], "has FAILED twice; each failureType may be given once"),
    ],
)
def test_refusals(criteria: list[tuple[str, int]], says: str) -> None:
    """What does not fit is refused with the field, the value and the limit."""
    sent = [{"failureType": kind, "numberOfRetries": most} for kind, most in criteria]
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(told(RetryConfig, {"criteriaList": sent}))


def test_a_row_gives_back_what_was_sent() -> None:
    """Stored in AWS's words and read back equal."""
    sent = config(FAILED=3, TIMED_OUT=0)
    assert sent.to_text() == (
        '{"criteriaList":[{"failureType":"FAILED","numberOfRetries":3},'
        '{"failureType":"TIMED_OUT","numberOfRetries":0}]}'
    )
    assert RetryConfig.from_text(sent.to_text()) == sent
