"""Topics to and from values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.topics import (
    DeviceTopic,
    Operation,
    OperatorTopic,
    TopicMode,
    UnknownTopic,
    mounted,
    notify_next_topic,
    notify_topic,
    parse,
    subscriptions,
)

DEVICE = "default/$aws/things/t:1/jobs/"


@pytest.mark.parametrize(
    ("rest", "wanted"),
    [
        ("get", (Operation.GET_PENDING, "")),
        ("start-next", (Operation.START_NEXT, "")),
        ("j1/get", (Operation.DESCRIBE, "j1")),
        ("$next/get", (Operation.DESCRIBE, "$next")),
        ("get/get", (Operation.DESCRIBE, "get")),
        ("notify/update", (Operation.UPDATE, "notify")),
        ("j1/update", (Operation.UPDATE, "j1")),
    ],
)
def test_a_device_request(rest: str, wanted: tuple[Operation, str]) -> None:
    """By the number of levels first: job ids such as `get` and `notify` are legal."""
    assert parse(DEVICE + rest, TopicMode.MOUNTED) == DeviceTopic("default", "t:1", *wanted)


@pytest.mark.parametrize(
    "rest", ["$next/update", "j1/delete", "j 1/get", "x" * 65 + "/get", "j1/a/b", "pending", ""]
)
def test_what_is_no_operation(rest: str) -> None:
    """Anything else under jobs/ is an unknown topic, to be answered InvalidTopic."""
    assert isinstance(parse(DEVICE + rest, TopicMode.MOUNTED), UnknownTopic)


@pytest.mark.parametrize(
    "topic",
    [
        DEVICE + "get/accepted",
        DEVICE + "j1/update/rejected",
        DEVICE + "notify",
        DEVICE + "notify-next",
        "default/operators/ann/jobs/create/accepted",
        "default/$aws/events/job/j1/completed",
        "$aws/things/t1/jobs/get",
        "bad tenant/$aws/things/t1/jobs/get",
        "default",
        "",
    ],
)
def test_what_is_not_ours_to_answer(topic: str) -> None:
    """Answers, notifications, events and other people's topics are never taken for requests."""
    assert parse(topic, TopicMode.MOUNTED) is None


@pytest.mark.parametrize(
    ("rest", "wanted"),
    [
        ("jobs/create", OperatorTopic("acme", "ann", "jobs/create")),
        ("jobs/create/get", OperatorTopic("acme", "ann", "jobs/get", "create")),
        ("jobs/j1/cancel", OperatorTopic("acme", "ann", "jobs/cancel", "j1")),
        (
            "jobs/j1/executions/t1/cancel",
            OperatorTopic("acme", "ann", "jobs/executions/cancel", "j1", "t1"),
        ),
        ("groups/members", OperatorTopic("acme", "ann", "groups/members")),
        ("managed-templates/get", OperatorTopic("acme", "ann", "managed-templates/get")),
        ("tokens/revoke", OperatorTopic("acme", "ann", "tokens/revoke")),
        ("audit/list", OperatorTopic("acme", "ann", "audit/list")),
    ],
)
def test_an_operators_command(rest: str, wanted: OperatorTopic) -> None:
    """The verb is the topic without the names in it."""
    assert parse(f"acme/operators/ann/{rest}", TopicMode.MOUNTED) == wanted


@pytest.mark.parametrize(
    "rest",
    [
        "jobs/j1/stop",
        "things/explode",
        "templates/explode",
        "jobs",
        "jobs/j1/executions/t 1/cancel",
    ],
)
def test_what_is_no_command(rest: str) -> None:
    """An operator's mistake is answered, not ignored."""
    assert isinstance(parse(f"acme/operators/ann/{rest}", TopicMode.MOUNTED), UnknownTopic)


@pytest.mark.parametrize("rest", ["$aws/things/t1/jobs/get\n", "operators/ann/jobs/\u202elist"])
def test_a_refused_topic_is_shown_in_one_printable_line(rest: str) -> None:
    """What no terminal may act on stands escaped in the refusal (found by fuzzing)."""
    found = parse(rest, TopicMode.PLAIN)
    assert isinstance(found, UnknownTopic)
    assert found.reason.isprintable()


@pytest.mark.parametrize(
    "rest", ["$aws/things/{}/jobs/get", "$aws/things/t1/jobs/{}", "operators/{}/jobs/list"]
)
def test_a_refused_topic_is_not_shown_at_tenfold_length(rest: str) -> None:
    """The cut is made after escaping, which turns one character into ten (found by fuzzing)."""
    found = parse(rest.format("\U0002ebe1" * 120), TopicMode.PLAIN)
    assert isinstance(found, UnknownTopic)
    assert len(found.reason) < 250


def test_plain_mode_has_no_prefix() -> None:
    """Without mounting there is one tenant, and topics are AWS's own."""
    assert parse("$aws/things/t1/jobs/get", TopicMode.PLAIN) == DeviceTopic(
        "default", "t1", Operation.GET_PENDING
    )
    assert mounted("default", notify_topic("t1"), TopicMode.PLAIN) == "$aws/things/t1/jobs/notify"
    assert all(not one.startswith("$share") for one in subscriptions(TopicMode.PLAIN))


def matches(pattern: str, topic: str) -> bool:
    """Whether a filter without # matches a topic (MQTT 5, 4.7)."""
    wanted, levels = pattern.split("/"), topic.split("/")
    return len(wanted) == len(levels) and all(
        one in ("+", level) for one, level in zip(wanted, levels, strict=True)
    )


@pytest.mark.parametrize("mode", TopicMode)
def test_no_subscription_catches_what_we_publish(mode: TopicMode) -> None:
    """Our answers and notifications never come back to us (reference/mosquitto.md 0)."""
    filters = [one.removeprefix("$share/jobbroker/") for one in subscriptions(mode)]
    requests = [one.replace("+", "x") for one in filters]
    published = [f"{one}/{answer}" for one in requests for answer in ("accepted", "rejected")]
    published += [mounted("default", one("t1"), mode) for one in (notify_topic, notify_next_topic)]
    published += [mounted("default", "$aws/events/job/j1/completed", mode)]

    assert not [(one, topic) for one in filters for topic in published if matches(one, topic)]


@given(st.text(st.characters(exclude_characters="\0"), max_size=200), st.sampled_from(TopicMode))
def test_any_topic_is_parsed_or_not_ours(topic: str, mode: TopicMode) -> None:
    """Whatever a topic holds, parsing it never raises."""
    parse(topic, mode)
