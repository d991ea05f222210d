"""MQTT 5's Response Topic: wherever an operator asks to be answered, nothing is published outside their room."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

from hypothesis import strategies as st

from broker.mqtt.link import Inbound
from broker.operators import OperatorDoor
from handlers.operator_plane import Answer
from schema.topics import OperatorTopic, TopicMode, UnknownTopic, mounted, parse
from tests.fuzz import odd
from tests.fuzz.oracle import ACCEPTED, check_message

Example = tuple[str, bool]

_ASKED: Final = (
    *("operators/ann/answers", "operators/ann/jobs/list", "operators/ann/jobs/j1/get"),
    *("operators/ann/", "operators/ann", "operators/ann/jobs/list/accepted", "operators/bob/x"),
    *("operators/ann/../bob/x", "default/operators/ann/x", "operators/ann/$aws/things/t1/jobs/get"),
    *("$aws/things/t1/jobs/notify-next", "operators/ANN/x", "/operators/ann/x", "operators/ann//"),
)
_TOPICS: Final = st.sampled_from(_ASKED)
_PIECES: Final = st.one_of(st.sampled_from(("/", "+", "#", "..", "bob", "accepted")), odd.texts())
_WIDTHS: Final = st.integers(0, 4)


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """A Response Topic, and whether tenants are mounted."""
    asked = draw(_TOPICS)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(asked)))
        asked = asked[:at] + draw(_PIECES)[:400] + asked[at + draw(_WIDTHS) :]
    return asked.encode("utf-8", "ignore").decode(), draw(st.booleans())


class _Door(OperatorDoor):
    """A door behind which every command succeeds."""

    async def _execute(self, topic: OperatorTopic, inbound: Inbound) -> Answer | None:
        assert topic.operator in inbound.topic
        return Answer(accepted=True, body={"clientToken": "t"})


def check(example: Example) -> list[str]:
    """Ask once, in a loop of its own; see `opened` for many."""
    with opened() as again:
        return again(example)


@contextmanager
def opened() -> Iterator[Callable[[Example], list[str]]]:
    """A loop for many commands."""
    with asyncio.Runner() as runner:
        yield lambda example: runner.run(_ask(example))


async def _ask(example: Example) -> list[str]:
    asked, is_mounted = example
    mode = TopicMode.MOUNTED if is_mounted else TopicMode.PLAIN
    pool: Any = None  # never reached
    door = _Door(pool, mode=mode, slot=0, tell=lambda _, _cause=None: None)
    own = mounted("default", "operators/ann/jobs/list", mode)
    room = mounted("default", "operators/ann/", mode)
    inbound = Inbound(own, b'{"clientToken":"t"}', 1, False, 1, 1, asked, b"c")
    topic = cast("OperatorTopic", parse(own, mode))
    outbounds = await door.answer(topic, inbound)
    for one in outbounds:
        assert one.topic.startswith(room)
        assert len(one.topic) > len(room)
        assert not {"+", "#", "\0"} & set(one.topic)
        found = parse(one.topic, mode)
        assert found is None or isinstance(found, UnknownTopic), "we would command ourselves"
    body = json.loads(outbounds[0].payload)
    assert body["clientToken"] == "t"
    if "code" not in body:
        return [ACCEPTED]
    check_message(body["message"])
    return [str(body["code"])]
