"""The survival suite's schedule, books and report."""

from __future__ import annotations

import json

import pytest

from tests.chaos import report
from tests.chaos.invariants import Violation
from tests.chaos.ledger import Entry, Ledger
from tests.chaos.outcome import Outcome, Plan, Struck
from tests.chaos.schedule import DELAYS, Kind, blows, draw, kinds_for


def test_a_seed_is_a_schedule() -> None:
    """The same seed draws the same faults, another one others."""
    assert draw(7, 40, 600) == draw(7, 40, 600)
    assert draw(7, 40, 600) != draw(8, 40, 600)


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_comes_before_any_comes_twice(seed: int) -> None:
    """Eighteen faults are all kinds; a hundred have each five or six times."""
    assert {fault.kind for fault in draw(seed, len(Kind), 80)} == set(Kind)
    many = [fault.kind for fault in draw(seed, 100, 1800)]
    assert {many.count(kind) for kind in Kind} <= {5, 6}


@pytest.mark.parametrize("seed", range(20))
def test_faults_fit_into_the_run(seed: int) -> None:
    """In order, inside the run, and healing is left most of the time; nothing is stopped for over 30 s."""
    faults = draw(seed, 18, 78)
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
    assert faults[0].at >= 0
    assert faults[-1].at < 78
    assert sum(fault.lasts for fault in faults) <= 78 * 0.36
    assert max(fault.lasts for fault in draw(seed, 100, 3600)) <= 30


@pytest.mark.parametrize("seed", range(20))
def test_each_is_stopped_for_half_a_minute_once(seed: int) -> None:
    """In a long run the broker, Mosquitto and PostgreSQL stand still for 30 s each; in a short one nobody does."""
    faults = draw(seed, 110, 1440)
    long = [fault.kind for fault in faults if fault.lasts == 30]
    assert sorted(long) == sorted(kind for kind in Kind if kind.startswith("SIGSTOP"))
    assert sum(fault.lasts for fault in faults) <= 1440 * 0.36
    assert all(fault.lasts < 30 for fault in draw(seed, 18, 78))


def test_whom_it_falls_on() -> None:
    """Killed is one or all, slow has a delay, and with one broker there is none of two."""
    for fault in draw(3, 200, 3600):
        assert (fault.latency > 0) == (fault.kind in DELAYS)
        if fault.kind is Kind.ONE_BROKER_KILLED:
            assert fault.seat in (0, 1)
        if fault.kind in (Kind.BROKERS_KILLED, Kind.MOSQUITTO_KILLED, Kind.DEVICES_CUT):
            assert fault.seat is None
    alone = draw(3, 50, 3600, brokers=1)
    assert Kind.ONE_BROKER_KILLED not in kinds_for(1)
    assert {fault.seat for fault in alone} <= {0, None}
    with pytest.raises(ValueError, match="0 faults"):
        draw(1, 0, 60)


def test_faults_at_once_hurt_different_ones() -> None:
    """Some of a long run, never more than two together, begin at the same moment; none of a short run."""
    together = [blow for seed in range(9) for blow in blows(draw(seed, 60, 1800)) if len(blow) > 1]
    assert together
    for first, second in together:
        assert first.victim != second.victim
        assert first.at == second.at
    faults = draw(1, 60, 1800)
    assert [fault for blow in blows(faults) for fault in blow] == faults
    assert all(len(blow) == 1 for blow in blows(draw(1, 18, 80)))


def test_the_ledger_keeps_first_answers() -> None:
    """A request sent twice is one request; its second answer counts as such, and may not say more than the first."""
    ledger = Ledger()
    ledger.sending("t1.1", "t1", "topic")
    ledger.sending("t1.1", "t1", "topic")
    first = ledger.answered("t1.1", accepted=True)
    assert first is not None
    assert first.times_sent == 2
    assert ledger.answered("t1.1", accepted=True) is None
    assert ledger.answered("t1.1", accepted=False) is None  # taken back in between
    assert (ledger.accepted, ledger.retried, ledger.repeated_answers) == (1, 1, 2)
    assert not ledger.contradictions
    ledger.sending("t1.2", "t1", "topic")
    ledger.answered("t1.2", accepted=False)
    ledger.answered("t1.2", accepted=True)
    assert ledger.contradictions == ["t1.2 to topic was rejected first and accepted later"]


def test_a_watch_ends_with_the_last_of_those_that_waited() -> None:
    """The first accepted answer and the last answer that was owed are two moments; a rejection is an answer."""
    ledger = Ledger()
    for token in ("t1.1", "t2.1"):
        ledger.sending(token, token[:2], "topic")
    watch = ledger.watch()
    ledger.sending("t3.1", "t3", "topic")
    ledger.answered("t3.1", accepted=True)
    assert watch.accepted_at is not None
    ledger.answered("t1.1", accepted=True)
    assert not watch.is_over
    ledger.answered("t2.1", accepted=False)
    assert watch.is_over


def test_what_things_know() -> None:
    """A notify tells the list, a notify-next the first; an empty list and no execution are knowledge, too."""
    ledger = Ledger()
    one = {"jobId": "j1", "executionNumber": 1}
    other = {"jobId": "j2", "executionNumber": 3}
    ledger.notified("t1", {"jobs": {"QUEUED": [other], "IN_PROGRESS": [one]}})
    ledger.next_notified("t1", {"execution": one})
    assert ledger.thing("t1").pending == (("j1", 1), ("j2", 3))
    assert ledger.thing("t1").first == (("j1", 1),)
    ledger.notified("t1", {"jobs": {}})
    ledger.next_notified("t1", {"timestamp": 1})
    known = ledger.thing("t1")
    assert (known.pending, known.first, known.notified) == ((), (), 4)


def _outcome(*wrong: Violation) -> Outcome:
    faults = draw(1, 18, 80)
    plan = Plan(
        seed=1,
        seconds=80,
        rate=300,
        things=120,
        brokers=2,
        faults=tuple(faults),
        audit_every=20,
    )
    outcome = Outcome(plan, load_seconds=80.0, audits=1, disk="ext4")
    outcome.struck = [Struck(fault, 0.25, 1.5, 100, "") for fault in faults[1:]]
    outcome.not_run = [(faults[0], "no root")]
    outcome.violations = list(wrong)
    for number in range(2, 802):
        outcome.ledger.tell(("t1", "j1", number), Entry("t1.1", "SUCCEEDED", 2))
    return outcome


def test_the_report_says_what_was_done_and_what_was_not() -> None:
    """Each kind with its times, what was not run with the reason, and how to have it again."""
    text = report.markdown(_outcome(), "make chaos ARGS=--short")
    assert "17 faults in 1 minutes" in text
    assert "**every promise was kept**" in text
    assert text.count("0.25 / 0.25 | 1.50 / 1.50") == 17
    assert "times: no root" in text
    assert "```bash\nmake chaos ARGS=--short\n```" in text
    assert any("800 updates accepted (10 a second" in line for line in report.lines(_outcome()))


def test_the_report_hides_nothing() -> None:
    """Broken promises are counted, and what never recovered reads so."""
    outcome = _outcome(Violation("applied once", "t1", "twice"))
    outcome.struck = [Struck(outcome.struck[0].fault, None, None, 5, "")]
    text = report.markdown(outcome, "again")
    assert "**1 promises were broken**" in text
    assert "- applied once: 1" in text
    assert "| never | never |" in text
    assert report.lines(outcome)[-1] == "1 faults, 1 audits: 1 violations"
    told = json.loads(json.dumps(report.as_json(outcome)))
    assert told["violations"] == [{"promise": "applied once", "about": "t1", "evidence": "twice"}]


def test_the_report_is_a_section_of_its_document() -> None:
    """Nothing in it looks like the marker of a section."""
    assert "<!--" not in report.markdown(_outcome(), "again")
