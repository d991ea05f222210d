"""What answers in the broker's place, to compare it with: nothing at all, or the seeds' design.

`echo` answers each update at once with what it said, over our own link to the MQTT server: what
the servers and the load can do at most; `echo0` with QoS 0, as the broker does. `seed` does what
seed 003 does for each message: a transaction of its own, with its statements on the tables of seed
004. A process of its own, as the broker is: python -m broker.bench.answering echo|echo0|seed, with
URLs in the environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

import uvloop

from broker.bench.seed import update_execution
from broker.mqtt.address import parse_url
from broker.mqtt.link import (
    Denied,
    Inbound,
    Link,
    LinkClosedError,
    LinkEvent,
    LinkSettings,
    Outbound,
)
from handlers.database import Pool, create_pool

FILTER: Final = "$share/bench/+/$aws/things/+/jobs/+/update"
MQTT, DATABASE = "JOBBROKER_BENCH_MQTT", "JOBBROKER_BENCH_DATABASE"
# Both are the broker's defaults: the designs are compared on the same means.
POOL_SIZE: Final = 10
RECEIVE_MAXIMUM: Final = 1000


def _nothing(_event: LinkEvent) -> None:
    return None


def _connected_link() -> Link:
    url = parse_url(os.environ[MQTT])
    settings = LinkSettings(
        address=url.address,
        client_id=f"jobbroker-bench-{os.getpid()}",
        username=url.username,
        password=url.password,
        receive_max=RECEIVE_MAXIMUM,
        session_expiry=0,
    )
    return Link(settings, [FILTER], on_event=_nothing)


async def echo(link: Link, qos: int) -> None:
    """Answer every request with itself; acknowledge it when the MQTT server has the answer."""
    while True:
        received = await link.receive()
        answers = [Outbound(f"{one.topic}/accepted", one.payload, qos) for one in received]
        _publish_then_acknowledge(link, answers, received)


async def one_by_one(link: Link, pool: Pool) -> None:
    """Answer every request by a transaction of its own, as many at once as the pool holds."""
    working: set[asyncio.Task[None]] = set()
    while True:
        for one in await link.receive():
            task = asyncio.create_task(_update(link, pool, one))
            working.add(task)
            task.add_done_callback(working.discard)


async def _update(link: Link, pool: Pool, inbound: Inbound) -> None:
    tenant, _, _, device, _, job, _ = inbound.topic.split("/")
    body = json.loads(inbound.payload)
    code, answer = await update_execution(
        pool, tenant, device, job, status=body["status"], details=body.get("statusDetails")
    )
    word = "accepted" if code == "ok" else "rejected"
    payload = json.dumps({**answer, "clientToken": body["clientToken"]}, separators=(",", ":"))
    reply = Outbound(f"{inbound.topic}/{word}", payload.encode(), qos=0)
    _publish_then_acknowledge(link, [reply], [inbound])


def _publish_then_acknowledge(
    link: Link, answers: Sequence[Outbound], requests: Sequence[Inbound]
) -> None:
    def acknowledge(published: asyncio.Future[list[Denied]]) -> None:
        if not published.cancelled() and published.exception() is None:
            link.acknowledge(requests)

    link.publish(answers).add_done_callback(acknowledge)


async def main(how: str) -> None:
    """Answer until SIGTERM."""
    link = _connected_link()
    pool = await create_pool(os.environ[DATABASE], size=POOL_SIZE)
    running = asyncio.create_task(link.run())
    answers = {
        "echo": lambda: echo(link, 1),
        "echo0": lambda: echo(link, 0),
        "seed": lambda: one_by_one(link, pool),
    }
    answering = asyncio.create_task(answers[how]())
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await link.connected()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({stopped, answering}, return_when=asyncio.FIRST_COMPLETED)
    await link.close(end_session=True)
    await running
    await asyncio.gather(answering, return_exceptions=True)
    await pool.close()
    if answering.done() and not isinstance(answering.exception(), LinkClosedError):
        answering.result()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
