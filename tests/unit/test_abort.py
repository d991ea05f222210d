"""Abort criteria: percentages of what has completed, in list order, exact at the threshold."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema import limits
from schema.abort import AbortConfig, AbortCriteria, FailureType, evaluate, nearest
from schema.counts import Counts
from tests.unit.configs import told

GUIDE = {
    "failureType": "FAILED",
    "action": "CANCEL",
    "thresholdPercentage": 10,
    "minNumberOfExecutedThings": 100,
}
NUMBERS = st.integers(0, 300)
COUNTS = st.builds(Counts, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)


def config(*changes: dict[str, object]) -> AbortConfig:
    """Criteria that differ from AWS's example in these fields."""
    return AbortConfig.model_validate({"criteriaList": [{**GUIDE, **change} for change in changes]})


@st.composite
def criteria(draw: st.DrawFn) -> AbortCriteria:
    """Any criterion that AWS takes."""
    return config(
        {
            "failureType": draw(st.sampled_from(FailureType)),
            "thresholdPercentage": draw(st.integers(0, 10_000)) / 100,
            "minNumberOfExecutedThings": draw(st.integers(1, 500)),
        }
    ).criteria_list[0]


@pytest.mark.parametrize(
    ("counts", "met"),
    [
        (Counts(queued=900, succeeded=89, failed=10), False),
        (Counts(queued=900, succeeded=90, failed=10), True),
        (Counts(queued=900, succeeded=91, failed=9), False),
        (Counts(queued=0, succeeded=91, failed=10), False),
        (Counts(failed=99), False),
        (Counts(failed=100), True),
    ],
)
def test_guide_example(counts: Counts, met: bool) -> None:
    """AWS's example: at least 10 % failed after at least 100 have completed; targets still to come don't count."""
    assert (evaluate(config({}), counts) is not None) is met


def test_what_nobody_carried_out_is_not_completed() -> None:
    """Canceled and removed things neither reach the least number nor dilute the failures."""
    assert evaluate(config({}), Counts(failed=10, succeeded=80, canceled=50, removed=50)) is None
    assert evaluate(config({}), Counts(failed=10, succeeded=90, canceled=900, removed=900))


@pytest.mark.parametrize(
    ("kind", "met"),
    [("FAILED", False), ("REJECTED", False), ("TIMED_OUT", True), ("ALL", True)],
)
def test_each_kind_counts_its_own(kind: str, met: bool) -> None:
    """FAILED, REJECTED and TIMED_OUT are counted apart; ALL is their sum."""
    counts = Counts(succeeded=80, failed=4, rejected=6, timed_out=10)
    assert (evaluate(config({"failureType": kind}), counts) is not None) is met


def test_the_first_in_the_list_is_the_reason() -> None:
    """Of two criteria that are met the first is told, with the numbers that met it."""
    both = config(
        {"thresholdPercentage": 50}, {"failureType": "ALL"}, {"thresholdPercentage": 12.5}
    )
    abort = evaluate(both, Counts(succeeded=105, failed=15))
    assert abort is not None
    assert (abort.place, abort.reason_code) == (1, "ABORT_CRITERIA_MET")
    assert abort.comment == (
        "abortConfig.criteriaList[1]: 15 of 120 completed things (12.50 %) are FAILED, TIMED_OUT or REJECTED; "
        "the threshold is 10 % of at least 100"
    )


def test_reason_and_comment_fit_aws_patterns() -> None:
    """What is stored as the reason is what CancelJob would have taken."""
    abort = evaluate(config({}), Counts(failed=2**31))
    assert abort is not None
    assert limits.REASON_CODE.fullmatch(abort.reason_code)
    assert limits.is_plain_text(abort.comment)
    assert len(abort.comment) <= limits.TEXT_CHARS


def test_no_config_never_aborts() -> None:
    """A job without abortConfig goes on with everything failed."""
    assert evaluate(None, Counts(failed=10**6)) is None
    assert nearest(None, Counts(failed=10**6)) is None


def test_zero_percent_is_any_failure() -> None:
    """A threshold of 0 stops at the first failure, but not a job in which nothing fails."""
    zero = config({"thresholdPercentage": 0})
    assert evaluate(zero, Counts(succeeded=5000)) is None
    assert evaluate(zero, Counts(succeeded=5000, failed=1))


def test_two_digits_are_exact() -> None:
    """10.99 % of 10000 is 1099: not one less, and no float error either way."""
    fine = config({"thresholdPercentage": 10.99})
    assert evaluate(fine, Counts(succeeded=8902, failed=1098)) is None
    assert evaluate(fine, Counts(succeeded=8901, failed=1099))


@given(criterion=criteria(), counts=COUNTS)
def test_met_is_the_formula(criterion: AbortCriteria, counts: Counts) -> None:
    """The reference's formula in exact fractions, for any criterion and counts."""
    bad = criterion.failure_type.of(counts)
    wanted = (
        counts.completed >= criterion.min_number_of_executed_things
        and bad > 0
        and Fraction(100 * bad, counts.completed) >= Fraction(str(criterion.threshold_percentage))
    )
    assert criterion.met(counts) is wanted


@given(criterion=criteria(), counts=COUNTS)
def test_distance_is_the_fewest_failures(criterion: AbortCriteria, counts: Counts) -> None:
    """So many failures more meet the criterion and one less does not; None only where no number can."""
    column = (
        "failed" if criterion.failure_type is FailureType.ALL else criterion.failure_type.lower()
    )

    def after(more: int) -> bool:
        return criterion.met(counts._replace(**{column: getattr(counts, column) + more}))

    distance = criterion.distance(counts)
    if distance is None:
        assert not after(10**9)
    else:
        assert after(distance)
        assert distance == 0 or not after(distance - 1)


def test_the_nearest_criterion() -> None:
    """An operator sees which criterion is closest to stopping the job."""
    two = config({"thresholdPercentage": 20}, {"failureType": "ALL", "thresholdPercentage": 50})
    assert nearest(two, Counts(succeeded=99)) == (0, 25)
    never = config({"thresholdPercentage": 100})
    assert nearest(never, Counts(succeeded=1)) is None
    assert nearest(never, Counts(failed=40)) == (0, 60)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "criteriaList: required"),
        ({"criteriaList": []}, "criteriaList: has 0 entries, at least 1"),
        ({"criteriaList": [GUIDE] * 101}, "criteriaList: has 101 entries, at most 100"),
        (
            {"criteriaList": [{**GUIDE, "failureType": "BROKEN"}]},
            "0.failureType: 'BROKEN': .*'ALL'",
        ),
        ({"criteriaList": [{**GUIDE, "action": "PAUSE"}]}, "0.action: 'PAUSE': .*'CANCEL'"),
        ({"criteriaList": [{**GUIDE, "thresholdPercentage": 100.01}]}, "100.01: .*100$"),
        ({"criteriaList": [{**GUIDE, "thresholdPercentage": -1}]}, "Percentage: -1: .*0$"),
        (
            {"criteriaList": [{**GUIDE, "thresholdPercentage": 10.999}]},
            "10.999 has more than 2 digits",
        ),
        ({"criteriaList": [{**GUIDE, "thresholdPercentage": float("nan")}]}, "nan: .*finite"),
        ({"criteriaList": [{**GUIDE, "minNumberOfExecutedThings": 0}]}, "ExecutedThings: 0: .*1$"),
        (
            {"criteriaList": [{k: v for k, v in GUIDE.items() if k != "action"}]},
            "criteriaList.0.action: required",
        ),
    ],
)
def test_refusals(fields: dict[str, object], says: str) -> None:
    """What does not fit is refused with the field, the value and the limit."""
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(told(AbortConfig, fields))


def test_a_row_gives_back_what_was_sent() -> None:
    """Stored in AWS's words and read back equal."""
    sent = config({}, {"failureType": "ALL", "thresholdPercentage": 10.9})
    assert AbortConfig.from_text(sent.to_text()) == sent
    assert '"failureType":"ALL","action":"CANCEL","thresholdPercentage":10.9' in sent.to_text()
