"""What leaves the broker for a device's request, packet by packet, at an MQTT server that is looked into."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from broker.dispatch import Dispatcher
from broker.mqtt.codec import PubAckPacket, PublishPacket, QoS, SubAckPacket, SubAckReasonCode
from broker.mqtt.link import Link, LinkSettings
from broker.notifier import Notifier
from handlers.database import Pool
from handlers.documents import Documents
from schema.topics import TopicMode
from tests.factories import add_things
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
        async with asyncio.timeout(20):
            found = await seen
        await link.close()
        await asyncio.gather(running, serving)
    assert found == [(f"{REQUEST}/accepted", answer_qos), ("PUBACK", 7)]
