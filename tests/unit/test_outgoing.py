"""The outbound half of the session: order, quota, what is sent again."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from broker.mqtt.codec import PubAckPacket, PubAckReasonCode, PublishPacket, read_packets
from broker.mqtt.messages import Denied, LinkClosedError, Outbound
from broker.mqtt.outgoing import Outgoing


def _outgoing(receive_max: int = 10, max_packet_size: int | None = None) -> Outgoing:
    outgoing = Outgoing(lambda _: None)
    outgoing.connected(
        session_present=False, receive_max=receive_max, max_packet_size=max_packet_size
    )
    return outgoing


def _again(outgoing: Outgoing, *, session_present: bool, receive_max: int = 10) -> None:
    outgoing.disconnected()
    outgoing.connected(
        session_present=session_present, receive_max=receive_max, max_packet_size=None
    )


def _sent(outgoing: Outgoing) -> list[PublishPacket]:
    packets = [read_packets(frame, 1 << 20).packets[0] for frame in outgoing.frames()]
    return [packet for packet in packets if isinstance(packet, PublishPacket)]


def _topics(packets: list[PublishPacket]) -> list[str]:
    return [packet.topic for packet in packets]


def _messages(*topics: str, qos: int = 1) -> list[Outbound]:
    return [Outbound(topic, b"", qos) for topic in topics]


async def test_no_more_than_receive_maximum_are_in_flight() -> None:
    """Beyond the server's Receive Maximum messages wait, and each PUBACK lets one go."""
    outgoing = _outgoing(receive_max=2)
    future = outgoing.add(_messages("a", "b", "c", "d"))
    first = _sent(outgoing)
    assert _topics(first) == ["a", "b"]
    assert _sent(outgoing) == []
    outgoing.acknowledged(PubAckPacket(first[1].packet_id or 0))
    second = _sent(outgoing)
    assert _topics(second) == ["c"]
    for packet in (first[0], second[0]):
        outgoing.acknowledged(PubAckPacket(packet.packet_id or 0))
    assert not future.done()
    outgoing.acknowledged(PubAckPacket(_sent(outgoing)[0].packet_id or 0))
    assert future.result() == []
    assert len(outgoing) == 0


async def test_resumed_session_sends_again_with_dup_before_the_rest() -> None:
    """Unacknowledged messages keep packet id and order, carry DUP, and go before queued ones."""
    outgoing = _outgoing(receive_max=3)
    outgoing.add(_messages("a", "b", "c", "d"))
    first = _sent(outgoing)
    outgoing.acknowledged(PubAckPacket(first[0].packet_id or 0))
    _again(outgoing, session_present=True)
    second = _sent(outgoing)
    assert [(p.topic, p.packet_id, p.duplicate) for p in second] == [
        ("b", first[1].packet_id, True),
        ("c", first[2].packet_id, True),
        ("d", second[2].packet_id, False),
    ]
    assert len({packet.packet_id for packet in second}) == 3


async def test_lost_session_sends_again_as_new() -> None:
    """When the server has no session, unacknowledged messages are new ones, still in order."""
    outgoing = _outgoing(receive_max=2)
    outgoing.add(_messages("a", "b", "c"))
    _sent(outgoing)
    _again(outgoing, session_present=False)
    second = _sent(outgoing)
    assert [(p.topic, p.duplicate) for p in second] == [("a", False), ("b", False), ("c", False)]


async def test_smaller_receive_maximum_holds_for_what_is_sent_again() -> None:
    """A server that came back with a smaller Receive Maximum is not overrun."""
    outgoing = _outgoing(receive_max=10)
    outgoing.add(_messages("a", "b", "c", "d"))
    _sent(outgoing)
    _again(outgoing, session_present=True, receive_max=1)
    seen = []
    while packets := _sent(outgoing):
        assert len(packets) == 1
        seen += _topics(packets)
        outgoing.acknowledged(PubAckPacket(packets[0].packet_id or 0))
    assert seen == ["a", "b", "c", "d"]


async def test_qos_0_is_done_when_written_and_keeps_its_place() -> None:
    """QoS 0 needs no PUBACK, yet does not overtake a QoS 1 message before it."""
    outgoing = _outgoing(receive_max=1)
    outgoing.add(_messages("a", "b"))
    future = outgoing.add(_messages("c", qos=0))
    first = _sent(outgoing)
    assert _topics(first) == ["a"]
    outgoing.acknowledged(PubAckPacket(first[0].packet_id or 0))
    assert _topics(_sent(outgoing)) == ["b", "c"]
    assert future.result() == []


async def test_refusals_are_returned_and_told_by_topic() -> None:
    """A refusing PUBACK, a bad topic and an oversized packet are denied; the rest goes on."""
    told: list[Denied] = []
    outgoing = Outgoing(told.append)
    outgoing.connected(session_present=False, receive_max=10, max_packet_size=100)
    future = outgoing.add(
        [
            Outbound("no", b""),
            Outbound("a/#", b""),
            Outbound("big", b"x" * 200),
            Outbound("ok", b""),
        ]
    )
    refused, accepted = _sent(outgoing)
    code = PubAckReasonCode.NOT_AUTHORIZED
    outgoing.acknowledged(PubAckPacket(refused.packet_id or 0, reason_code=code))
    outgoing.acknowledged(PubAckPacket(accepted.packet_id or 0))
    denied = future.result()
    assert [each.topic for each in denied] == ["a/#", "big", "no"]
    assert denied[2].reason == "NOT_AUTHORIZED"
    assert "maximum is 100" in denied[1].reason
    assert told == denied


async def test_no_matching_subscribers_is_no_refusal() -> None:
    """PUBACK 0x10 (nobody listens) is success."""
    outgoing = _outgoing()
    future = outgoing.add(_messages("a"))
    code = PubAckReasonCode.NO_MATCHING_SUBSCRIBERS
    outgoing.acknowledged(PubAckPacket(_sent(outgoing)[0].packet_id or 0, reason_code=code))
    assert future.result() == []


async def test_stray_pubacks_change_nothing() -> None:
    """A PUBACK for an unknown packet id gives no credit, also not while sending again."""
    outgoing = _outgoing(receive_max=1)
    outgoing.acknowledged(PubAckPacket(99))
    outgoing.add(_messages("a", "b"))
    first = _sent(outgoing)
    assert len(first) == 1
    _again(outgoing, session_present=True, receive_max=5)
    outgoing.acknowledged(PubAckPacket(first[0].packet_id or 0))
    assert _topics(_sent(outgoing)) == ["b"]


async def test_close_fails_what_waits() -> None:
    """Closing fails futures of queued and sent messages; done ones keep their result."""
    outgoing = _outgoing(receive_max=1)
    done = outgoing.add([])
    waiting = [outgoing.add(_messages("a")), outgoing.add(_messages("b"))]
    _sent(outgoing)
    outgoing.close()
    assert done.result() == []
    assert [type(future.exception()) for future in waiting] == [LinkClosedError] * 2


@given(
    steps=st.lists(st.sampled_from(["add", "send", "ack", "resume", "lose"]), max_size=60),
    receive_max=st.integers(1, 4),
)
async def test_every_message_is_settled_once_and_in_order(
    steps: list[str], receive_max: int
) -> None:
    """Over any mix of losses, order holds, ids are unique, and all futures end done."""
    outgoing = _outgoing(receive_max)
    futures: list[asyncio.Future[list[Denied]]] = []
    delivered: list[str] = []
    unacked: list[PublishPacket] = []
    for step in [*steps, *["send", "ack"] * (2 * len(steps) + 2)]:
        if step == "add":
            futures.append(outgoing.add(_messages(f"{len(futures):03}")))
        elif step == "send":
            sent = _sent(outgoing)
            delivered += [p.topic for p in sent if p.topic not in delivered]
            unacked += sent
        elif step == "ack" and unacked:
            outgoing.acknowledged(PubAckPacket(unacked.pop(0).packet_id or 0))
        elif step in {"resume", "lose"}:
            unacked.clear()
            _again(outgoing, session_present=step == "resume", receive_max=receive_max)
        assert len(unacked) <= receive_max
        assert len({p.packet_id for p in unacked}) == len(unacked)
    assert delivered == [f"{index:03}" for index in range(len(futures))]
    assert all(future.done() for future in futures)
    assert len(outgoing) == 0
