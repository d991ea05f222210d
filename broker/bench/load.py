"""The load generator, a process of its own: it takes orders as lines of JSON and answers each so.

`connect` names and tokens; `start` a workload; `mark` ends a window of it; `stop` waits for what is
unanswered and tells of all windows; an end of input ends the process.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import uvloop

from broker.bench.client import Client
from broker.bench.figures import latency
from broker.bench.pace import Span, steady
from broker.bench.workloads import ClosedUpdates, Cycles, Lives, OpenLoop, Window, Workload
from broker.mqtt.address import parse_url
from broker.mqtt.connection import ConnectError
from broker.serving import allow_many_files

_AT_ONCE: Final = 50
_LET_IN_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 60.0
_LINE_BYTES: Final = 64 * 1024 * 1024
Order = dict[str, Any]


class Load:
    """The clients and what they are doing."""

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}
        self._workload: Workload | None = None
        self._windows: list[Window] = []
        self._lost: list[str] = []

    async def connect(self, order: Order) -> Order:
        """Connect those that are not, and wait until their subscriptions stand."""
        gate = asyncio.Semaphore(_AT_ONCE)
        address = parse_url(order["mqtt"]).address
        missing = [pair for pair in order["things"].items() if pair[0] not in self._clients]

        async def one(name: str, token: str) -> None:
            client = Client(name, lost=lambda who, why: self._lost.append(f"{who}: {why}"))
            filters = [each.format(name=name) for each in order["filters"]]
            async with gate, asyncio.timeout(_LET_IN_SECONDS):
                while True:
                    try:
                        await client.connect(address, token, filters)
                    except ConnectError:
                        # The server may not have read its list of names again yet.
                        await asyncio.sleep(0.2)
                    else:
                        break
                await client.subscribed.wait()
            self._clients[name] = client

        await asyncio.gather(*(one(*pair) for pair in missing))
        return {"connected": len(self._clients)}

    async def start(self, order: Order) -> Order:
        """Begin a workload."""
        clients = [self._clients[name] for name in order["things"]]
        self._windows = []
        match order["kind"]:
            case "updates":
                workload: Workload = ClosedUpdates(clients, order["jobs"], order["outstanding"])
            case "cycles":
                workload = Cycles(clients)
            case "lives":
                workload = Lives(clients)
            case _:
                operator = self._clients.get(order["operator"])
                workload = OpenLoop(
                    clients,
                    order["jobs"][0],
                    order["per_second"],
                    creates_per_second=order["creates_per_second"],
                    operator=operator,
                    notified=[self._clients[name] for name in order["notified"]],
                )
        self._workload = workload
        workload.start()
        return {}

    async def mark(self, _order: Order) -> Order:
        """End the current window and begin another; returns the ended one's counts."""
        workload = self._running()
        window, now = workload.window, time.monotonic()
        # When all is done there is nothing to wait for: the last answer ended it.
        window.ended = now if workload.waiting else max(workload.last_answer, window.began)
        workload.window = Window(now)
        self._windows.append(window)
        return {
            "done": window.done,
            "seconds": window.ended - window.began,
            "over": not workload.waiting,
        }

    async def stop(self, order: Order) -> Order:
        """Wait until all is answered, or a minute; returns all windows and what went wrong.

        slow: from when to when the machine was, of an open loop; the times of the other requests are told as well.
        """
        workload = self._running()
        workload.stop()
        deadline = time.monotonic() + _ANSWER_SECONDS
        while workload.waiting and time.monotonic() < deadline:  # noqa: ASYNC110 - counted, not signalled
            await asyncio.sleep(0.01)
        lost, self._lost = self._lost, []
        windows = [_window_as_json(one) for one in [*self._windows, workload.window]]
        pooled = [one for one in self._windows[1:] if one.ended]
        return {
            "windows": windows,
            "unanswered": workload.waiting,
            "lost": lost[:10],
            "took_ms": _pooled(one.took for one in pooled),
            "notified_ms": _pooled(one.notified for one in pooled),
            "sent_late_ms": _pooled(one.sent_late for one in pooled),
        } | _steady(pooled, order.get("slow"))

    def _running(self) -> Workload:
        if self._workload is None:
            raise ValueError("no workload was started")
        return self._workload


def _pooled(times: Any) -> Order | None:  # noqa: ANN401 - an iterable of arrays of floats
    found = latency(value for one in times for value in one)
    return found.as_json() if found else None


def _steady(pooled: Sequence[Window], slow: Sequence[Span] | None) -> Order:
    if slow is None:
        return {}
    return {
        "took_steady_ms": _pooled(steady(one.due, one.took, slow) for one in pooled),
        "notified_steady_ms": _pooled(
            steady(one.notified_due, one.notified, slow) for one in pooled
        ),
    }


def _window_as_json(window: Window) -> Order:
    took = latency(window.took)
    return {
        "began": window.began,
        "seconds": window.ended - window.began if window.ended else 0.0,
        "done": window.done,
        "rejected": window.rejected,
        "first_rejection": window.first_rejection,
        "last_late_answer": window.last_late_answer,
        "took_ms": took.as_json() if took else None,
    }


async def main() -> None:
    """Do as ordered until the input ends."""
    allow_many_files()
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    load = Load()
    verbs: dict[str, Callable[[Order], Coroutine[Any, Any, Order]]] = {
        "connect": load.connect,
        "start": load.start,
        "mark": load.mark,
        "stop": load.stop,
    }
    while line := await reader.readline():
        order = json.loads(line)
        try:
            answer = await verbs[order["do"]](order)
        except (TimeoutError, ConnectError) as error:
            answer = {"error": str(error) or "not in time"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(main())
