"""Spans of a serving process at a collector of OTLP over HTTP, with the context that MQTT and HTTP bring along."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiomqtt
import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from handlers.database import Pool
from tests.acceptance.http_site import HttpSite, http_site
from tests.conftest import Database, StartMosquitto
from tests.factories import add_job, add_things
from tests.helpers import PATIENCE, eventually
from tests.integration.operator_desk import Desk, aws_job

BY_HTTP, BY_MQTT, BY_DEVICE = "a" * 32, "b" * 32, "c" * 32


def traceparent(trace: str) -> str:
    """As a caller sends it whose trace is kept."""
    return f"00-{trace}-00f067aa0ba902b7-01"


@asynccontextmanager
async def collector() -> AsyncIterator[tuple[str, list[Span]]]:
    """A collector on loopback: its URL, and the spans it was sent so far."""
    spans: list[Span] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        body = await reader.readexactly(length)
        if head.startswith("post /v1/traces "):
            sent = ExportTraceServiceRequest.FromString(body)
            spans.extend(
                span for one in sent.resource_spans for of in one.scope_spans for span in of.spans
            )
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", spans


async def answered(port: int, topic: str, payload: object, parent: str) -> str | None:
    """The traceparent of the answer to a request that carries one."""
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = ("traceparent", parent)
    client = aiomqtt.Client(
        "127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5, timeout=PATIENCE
    )
    async with client, asyncio.timeout(PATIENCE):
        await client.subscribe(f"{topic}/accepted", qos=1)
        await client.publish(topic, json.dumps(payload), qos=1, properties=properties)
        async for message in client.messages:
            found = dict(getattr(message.properties, "UserProperty", []))
            return found.get("traceparent")
    return None


@asynccontextmanager
async def listening(port: int, *filters: str) -> AsyncIterator[Callable[[str], str | None]]:
    """Somebody who subscribes to these; called with a topic's end it gives the last such message's traceparent."""
    heard: dict[str, str | None] = {}

    async def listen(client: aiomqtt.Client) -> None:
        async for message in client.messages:
            found = dict(getattr(message.properties, "UserProperty", []))
            heard[str(message.topic)] = found.get("traceparent")

    client = aiomqtt.Client(
        "127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5, timeout=PATIENCE
    )
    async with client:
        for each in filters:
            await client.subscribe(each, qos=1)
        task = asyncio.create_task(listen(client))
        try:
            yield heard.get
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def carries(told: Callable[[str], str | None], topic: str, parent: str) -> bool:
    """Whether the last message there has this traceparent."""
    return told(topic) == parent


async def follow_a_job(served: HttpSite, http: httpx.AsyncClient, token: str) -> None:
    """What is said of a job carries the context of who caused it: first the operator, then each device."""
    port = served.site.device_port
    events = "$aws/events/jobExecution/traced/"
    bearer = {"Authorization": f"Bearer {token}", "traceparent": traceparent(BY_HTTP)}
    async with listening(port, "$aws/things/+/jobs/notify-next", events + "#") as told:
        made = await http.post(
            "/api/v1/jobs", json=aws_job("t2", "t3", jobId="traced"), headers=bearer
        )
        assert made.status_code == 201, made.text
        for thing in ("t2", "t3"):
            topic = f"$aws/things/{thing}/jobs/notify-next"
            await eventually(partial(carries, told, topic, traceparent(BY_HTTP)))
        asked = traceparent(BY_DEVICE)
        update = "$aws/things/t2/jobs/traced/update"
        assert await answered(port, update, {"status": "SUCCEEDED"}, asked) == asked
        for topic in ("$aws/things/t2/jobs/notify-next", f"{events}succeeded"):
            await eventually(partial(carries, told, topic, asked))
        assert told("$aws/things/t3/jobs/notify-next") == traceparent(BY_HTTP)


async def test_spans_and_their_context(
    mosquitto_server: StartMosquitto, database: Database, pool: Pool, tmp_path: Path
) -> None:
    """HTTP and MQTT commands are children of their callers' spans, batches are linked; what is said brings it along."""
    await add_things(pool, "t1", "t2", "t3")
    await add_job(pool, "j1", ["t1"])
    made = await Desk(pool).accepted("operators/create", {"operatorName": "eve", "role": "manager"})
    async with (
        collector() as (endpoint, spans),
        http_site(
            mosquitto_server,
            database,
            tmp_path,
            JOBBROKER_OTLP_ENDPOINT=endpoint,
            JOBBROKER_OTLP_RATIO="1",
        ) as served,
        httpx.AsyncClient(base_url=served.url, timeout=PATIENCE) as http,
    ):
        bearer = {"Authorization": f"Bearer {made['token']}"}
        parent = {"traceparent": traceparent(BY_HTTP)}
        answer = await http.get("/api/v1/jobs", headers=bearer | parent)
        assert answer.status_code == 200
        port = served.site.device_port
        asked = traceparent(BY_MQTT)
        assert await answered(port, "operators/eve/jobs/list", {}, asked) == asked
        asked = traceparent(BY_DEVICE)
        assert await answered(port, "$aws/things/t1/jobs/start-next", {}, asked) == asked
        wrong = "00-not-a-traceparent-01"
        assert await answered(port, "$aws/things/t1/jobs/get", {}, wrong) is None

        def all_are_there() -> bool:
            return {"GET /api/v1/jobs", "jobs/list", "batch"} <= {span.name for span in spans}

        await eventually(all_are_there)
        by_name = {span.name: span for span in spans}
        assert by_name["GET /api/v1/jobs"].trace_id.hex() == BY_HTTP
        assert by_name["jobs/list"].trace_id.hex() == BY_MQTT
        assert by_name["jobs/list"].parent_span_id.hex() == "00f067aa0ba902b7"
        linked = [link.trace_id.hex() for one in spans if one.name == "batch" for link in one.links]
        assert linked == [BY_DEVICE]
        await follow_a_job(served, http, made["token"])
        for span in spans:
            assert span.end_time_unix_nano >= span.start_time_unix_nano > 0
            assert made["token"] not in str(span)
        assert await served.broker.stop() == 0
