"""Live events that nobody hears are not made; all others always are."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from broker.audience import LONGEST_QUIET_SECONDS, QUIET_SECONDS, SOME_A_SECOND, Audience
from schema import events
from schema.arns import Home
from schema.changes import Change, execution_events
from schema.lifecycle import Move, Report, queued, report
from schema.topics import TopicMode

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOME = Home("eu-west-1", "000000000000")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


def test_a_live_event_that_nobody_heard_is_left_out_for_a_moment() -> None:
    """A topic is quiet for a quarter of a second after a message on it reached nobody, then tried again."""
    clock = Clock()
    audience = Audience(TopicMode.MOUNTED, clock)
    topic = events.execution_topic("j1", "progress")
    assert not audience.nobody_hears("acme", topic)
    audience.note_unheard(f"acme/{topic}")
    assert audience.nobody_hears("acme", topic)
    clock.now += QUIET_SECONDS
    assert not audience.nobody_hears("acme", topic)


def test_it_is_tried_less_often_while_nobody_hears() -> None:
    """Silence doubles up to two seconds, and begins small again after a time in which somebody heard."""
    clock = Clock()
    audience = Audience(TopicMode.PLAIN, clock)
    topic = events.execution_topic("j1", "progress")

    def silence() -> float:
        for _ in range(3):  # a batch of them
            audience.note_unheard(topic)
        begin = clock.now
        while audience.nobody_hears("default", topic):
            clock.now += 1 / 64
        return clock.now - begin

    assert [silence() for _ in range(5)] == [0.25, 0.5, 1.0, 2.0, 2.0]
    clock.now += 2 * LONGEST_QUIET_SECONDS
    assert silence() == QUIET_SECONDS


def test_quiet_is_one_topic_of_one_tenant() -> None:
    """Another job, another operation and another tenant are still told."""
    audience = Audience(TopicMode.MOUNTED, Clock())
    audience.note_unheard("acme/$aws/events/jobExecution/j1/progress")
    for tenant, job, operation in [
        ("acme", "j2", "progress"),
        ("acme", "j1", "queued"),
        ("other", "j1", "progress"),
    ]:
        assert not audience.nobody_hears(tenant, events.execution_topic(job, operation))


def test_plain_topics_have_no_tenant() -> None:
    """Without mounts the topic is what was published."""
    audience = Audience(TopicMode.PLAIN, Clock())
    audience.note_unheard("$aws/events/jobExecution/j1/queued")
    assert audience.nobody_hears("default", events.execution_topic("j1", "queued"))


def test_only_live_events_fall_silent() -> None:
    """That a job's end, an execution's end or a notification reached nobody is not remembered."""
    audience = Audience(TopicMode.MOUNTED, Clock())
    topics = [
        events.execution_topic("j1", "succeeded"),
        "$aws/events/job/queued/completed",
        "$aws/things/queued/jobs/notify",
        "$aws/things/t1/jobs/progress",
    ]
    for topic in topics:
        audience.note_unheard(f"acme/{topic}")
    assert not any(audience.nobody_hears("acme", topic) for topic in topics)


def test_some_are_made_for_who_is_content_with_some() -> None:
    """However many happen, so many a second of a tenant; all where somebody wants all, none where nobody does."""
    clock = Clock()
    audience = Audience(TopicMode.MOUNTED, clock)
    topic = events.execution_topic("j1", "progress")
    for tenant in ("some", "all", "none"):
        audience.note_unheard(f"{tenant}/{topic}")
    audience.followed = {"some": False, "all": True}
    told = dict.fromkeys(("some", "all", "none"), 0)
    for _ in range(100):
        clock.now += QUIET_SECONDS / 200
        for tenant in told:
            told[tenant] += not audience.nobody_hears(tenant, topic)
    meanwhile = SOME_A_SECOND * QUIET_SECONDS / 2
    assert SOME_A_SECOND <= told["some"] <= SOME_A_SECOND + meanwhile
    assert (told["all"], told["none"]) == (100, 0)


def test_what_is_remembered_is_bounded() -> None:
    """After very many topics all are tried again, rather than kept."""
    audience = Audience(TopicMode.MOUNTED, Clock())
    for number in range(10_000):
        audience.note_unheard(f"acme/{events.execution_topic(f'j{number}', 'progress')}")
    quiet = [
        audience.nobody_hears("acme", events.execution_topic(f"j{n}", "progress"))
        for n in range(10_000)
    ]
    assert quiet[-1]
    assert sum(quiet) <= 4096


def test_events_are_made_for_those_who_listen() -> None:
    """Of a batch, a silent topic's live events are left out, others until there are enough; ends are all told."""
    started = [
        report(queued("t1", job, NOW), Report(Move.REPORT_IN_PROGRESS), NOW, timeout_minutes=None)
        for job in ("silent", "heard")
    ]
    changes = [
        Change(one, report(one, Report(move), NOW, timeout_minutes=None))
        for one in started
        for move in (Move.REPORT_IN_PROGRESS, Move.REPORT_SUCCEEDED)
    ]
    enough = 2

    def nobody_hears(topic: str) -> bool:
        nonlocal enough
        enough -= "/heard/" in topic
        return "/silent/" in topic or enough < 0

    told = execution_events(
        3 * changes, wanted=events.ALL, home=HOME, first_id=7, now=NOW, nobody_hears=nobody_hears
    )
    counted = Counter(topic for topic, _ in told)
    assert counted == {
        events.execution_topic("silent", "succeeded"): 3,
        events.execution_topic("heard", "progress"): 2,
        events.execution_topic("heard", "succeeded"): 3,
    }
