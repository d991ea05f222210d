"""Which request's traceparent goes along with what is said."""

from __future__ import annotations

from broker.causes import Cause, Causes
from handlers.store import Told

ONE, TWO = (f"00-{digit * 32}-{digit * 16}-01" for digit in "12")
OF_T1 = ("$aws/events/jobExecution/j/succeeded", '{"thingArn":"arn:aws:iot:r:0:thing/t1"}')
OF_JOB = ("$aws/events/job/j/completed", '{"eventType":"JOB"}')


def carried(told: Told, cause: Cause) -> dict[str, str | None]:
    """By topic, of all that a row says."""
    causes = Causes()
    causes.note([told], cause)
    found = causes.of([told])
    assert found is not None
    said = [(topic, payload.encode()) for topic, payload in told.messages]
    said += [(f"$aws/things/{thing}/jobs/notify", b"{}") for thing in told.notify]
    return {topic: found.by(topic, payload) for topic, payload in said}


def test_all_that_a_command_causes_carries_its_context() -> None:
    """Each thing's notification, each event, of things and of the job."""
    told = Told("default", 1, ("t1", "t2"), (), (OF_T1, OF_JOB))
    assert set(carried(told, Cause(ONE)).values()) == {ONE}


def test_in_a_batch_of_many_causes_each_thing_has_its_own() -> None:
    """What is said of the job as a whole has none: the batch's span is linked to all of them."""
    cause = Cause.of_batch([("t1", ONE), ("t2", TWO), ("t3", None)], 3)
    assert cause is not None
    assert carried(Told("default", 1, ("t2", "t3"), (), (OF_T1, OF_JOB)), cause) == {
        OF_T1[0]: ONE,
        OF_JOB[0]: None,
        "$aws/things/t2/jobs/notify": TWO,
        "$aws/things/t3/jobs/notify": None,
    }


def test_a_request_that_was_alone_is_the_cause_of_all() -> None:
    """One that is not alone is not, even if it is the only one with a context."""
    told = Told("default", 1, (), (), (OF_JOB,))
    alone, among = (Cause.of_batch([("t1", ONE)], count) for count in (1, 2))
    assert alone is not None
    assert among is not None
    assert carried(told, alone) == {OF_JOB[0]: ONE}
    assert carried(told, among) == {OF_JOB[0]: None}


def test_without_any_context_nothing_is_kept() -> None:
    """Neither of a batch nor of rows that were said."""
    assert Cause.of_batch([("t1", None)], 1) is None
    causes, told = Causes(), [Told("default", 1, ("t1",))]
    causes.note(told, Cause(ONE))
    causes.forget(told)
    assert causes.of(told) is None
