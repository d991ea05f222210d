"""What leaves the broker for a device's request, packet by packet, at an MQTT server that is looked into."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest

from broker.dispatch import Dispatcher
from broker.mqtt.codec import PubAckPacket, PublishPacket, QoS, SubAckPacket, SubAckReasonCode
from broker.mqtt.link import Inbound, Link, LinkSettings
from broker.notifier import Notifier
from broker.operators import OperatorDoor
from handlers.database import Pool
from handlers.documents import Documents
from schema.topics import OperatorTopic, TopicMode, parse
from tests.factories import add_things
from tests.helpers import PATIENCE
from tests.integration.operator_desk import Desk
from tests.unit.fake_mqtt import Peer, fake_server

REQUEST = "default/$aws/things/t1/jobs/get"


@pytest.mark.parametrize("answer_qos", [0, 1])
async def test_the_answer_is_ahead_of_its_acknowledgement(pool: Pool, answer_qos: int) -> None:
    """First the answer, with the QoS that is set, then the request's PUBACK, on one connection."""
    await add_things(pool, "t1")
    seen: asyncio.Future[list[tuple[str, int]]] = asyncio.get_running_loop().create_future()

    async def server(peer: Peer) -> None:
        await peer.accept()
        await peer.subscribe(
            lambda packet: SubAckPacket(
                packet.packet_id, [SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE]
            ).write()
        )
        peer.send(PublishPacket(REQUEST, b"{}", qos=QoS.AT_LEAST_ONCE, packet_id=7).write())
        answer = await peer.expect(PublishPacket)
        if answer_qos:
            assert answer.packet_id is not None
            peer.send(PubAckPacket(answer.packet_id).write())
        acknowledged = await peer.expect(PubAckPacket)
        seen.set_result([(answer.topic, int(answer.qos)), ("PUBACK", acknowledged.packet_id)])

    async with fake_server(server) as address:
        link = Link(LinkSettings(address, "slot-0"), ["+/#"], on_event=lambda _: None)
        documents = Documents()
        dispatcher = Dispatcher(
            pool,
            documents,
            Notifier(pool, documents, link, mode=TopicMode.MOUNTED, slot=0),
            cast("Any", None),
            mode=TopicMode.MOUNTED,
            slot=0,
            answer_qos=answer_qos,
        )
        running = asyncio.create_task(link.run())
        serving = asyncio.create_task(dispatcher.run(link))
        async with asyncio.timeout(PATIENCE):
            found = await seen
        await link.close()
        await asyncio.gather(running, serving)
    assert found == [(f"{REQUEST}/accepted", answer_qos), ("PUBACK", 7)]


async def test_an_answer_that_no_packet_holds_is_refused(pool: Pool) -> None:
    """The operator hears to ask for less, wherever answers are wanted; a change is told as it is."""
    await add_things(pool, *(f"thing-{number}" for number in range(40)))
    await Desk(pool).accepted("operators/create", {"operatorName": "bea", "role": "admin"})
    door = OperatorDoor(
        pool,
        mode=TopicMode.MOUNTED,
        slot=0,
        tell=lambda _told, _cause=None: None,
        largest=lambda: 1000,
    )

    async def ask(verb: str, **payload: object) -> list[tuple[str, dict[str, Any]]]:
        name = f"default/operators/bea/{verb}"
        topic = parse(name, TopicMode.MOUNTED)
        assert isinstance(topic, OperatorTopic)
        body = json.dumps({**payload, "clientToken": "t"}).encode()
        inbound = Inbound(name, body, 1, False, 1, 1, "operators/bea/mine", b"c")
        said = await door.answer(topic, inbound)
        return [(one.topic.removeprefix(name), json.loads(one.payload)) for one in said]

    (own, body), (asked, same) = await ask("things/list")
    assert (own, asked, same) == ("/rejected", "default/operators/bea/mine", body)
    assert (body["code"], body["clientToken"]) == ("LimitExceeded", "t")
    assert "takes 1000 at most; ask for a smaller page" in body["message"]
    [(own, body), _] = await ask("things/list", maxResults=2)
    assert (own, len(body["things"])) == ("/accepted", 2)
    [(own, body), _] = await ask("things/create", thingName="new", attributes={"a": "x" * 700})
    assert own == "/accepted"
