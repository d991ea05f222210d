"""What an operator is answered when the command does not get as far as its handler."""

from __future__ import annotations

import json
from typing import Any, cast

from broker.mqtt.link import Inbound
from broker.operators import OperatorDoor
from schema.topics import OperatorTopic, TopicMode, parse

TOPIC = "default/operators/ann/jobs/list"


class _Broken:
    """A pool whose failure is ours."""

    def acquire(self) -> None:
        raise RuntimeError("broken")


async def _answer(response_topic: str | None) -> dict[str, Any]:
    door = OperatorDoor(
        cast("Any", _Broken()),
        mode=TopicMode.MOUNTED,
        slot=0,
        tell=lambda _, _cause=None: None,
    )
    inbound = Inbound(TOPIC, b'{"clientToken": "t-1"}', 1, False, 1, 1, response_topic, b"c")
    topic = parse(TOPIC, TopicMode.MOUNTED)
    assert isinstance(topic, OperatorTopic)
    [outbound] = await door.answer(topic, inbound)
    assert outbound.topic == f"{TOPIC}/rejected"
    assert outbound.correlation_data == b"c"
    body: dict[str, Any] = json.loads(outbound.payload)
    return body


async def test_a_response_topic_outside_the_room_is_refused_with_the_token() -> None:
    """The refusal goes to the command's own topic and can be told from others by its clientToken."""
    body = await _answer("operators/bob/answers")
    assert (body["code"], body["clientToken"]) == ("InvalidRequest", "t-1")


async def test_a_refused_response_topic_is_not_shown_at_tenfold_length() -> None:
    """The cut is made after escaping, which turns one character into ten."""
    body = await _answer("\U0002ebe1" * 120)
    assert len(body["message"]) < 300


async def test_a_fault_of_ours_is_answered_with_the_token() -> None:
    """Whoever waits for this clientToken hears that nothing will come of it."""
    body = await _answer(None)
    assert (body["code"], body["clientToken"]) == ("InternalError", "t-1")
