"""One simulated device: subscribes, asks for its next job, reports progress and an outcome.

Only callbacks and timers, no task of its own, so that thousands fit in a process. What it does on
which message is what AWS recommends: reference/aws "Devices and jobs", "Device workflow".
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from broker.mqtt.address import Address
from broker.mqtt.codec import (
    Packet,
    PublishPacket,
    SubAckPacket,
    encode_puback,
    encode_publish,
    encode_subscribe,
)
from broker.mqtt.connection import ConnectError, Connection, ConnectSettings, connect
from broker.mqtt.handshake import ConnectRefusedError
from broker.simulator.tally import Tally

ANSWER_SECONDS: Final = 10.0
SESSION_SECONDS: Final = 3600
_BACKOFF_SECONDS: Final = 8.0
_KEEP_ALIVE: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How devices behave. Shares are 0 to 1, times in seconds, each range drawn from evenly.

    `offline` is the share that is away at first, and the chance to be cut off in the middle of a
    job; `away` is how long that lasts, `latency` how long a job takes.
    """

    fail: float = 0.0
    offline: float = 0.0
    latency: tuple[float, float] = (0.05, 2.0)
    away: tuple[float, float] = (2.0, 6.0)
    seed: int | None = None


@dataclass(slots=True)
class _Job:
    """The execution at work: its id, the version last seen, and how it will end."""

    job_id: str
    version: int
    outcome: str


@dataclass(slots=True)
class _Asked:
    """A request without an answer yet."""

    topic: str
    payload: bytes
    at: float
    on_accepted: Callable[[dict[str, Any]], None]
    timer: asyncio.TimerHandle | None = None


@dataclass(slots=True)
class Device:
    """A device by name and token; `start` sets it off, `stop` ends it and its session."""

    name: str
    token: str = field(repr=False)
    address: Address
    behaviour: Behaviour
    tally: Tally
    _random: random.Random = field(init=False)
    _connection: Connection | None = field(init=False, default=None)
    _connecting: asyncio.Task[None] | None = field(init=False, default=None)
    _timer: asyncio.TimerHandle | None = field(init=False, default=None)
    _asked: dict[str, _Asked] = field(init=False, default_factory=dict)
    _job: _Job | None = field(init=False, default=None)
    _next_known: bool = field(init=False, default=False)
    _stopped: bool = field(init=False, default=False)
    _numbered: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        """Give the device a chance of its own, the same in each run with the same seed."""
        seed = self.behaviour.seed
        self._random = random.Random(None if seed is None else f"{seed}/{self.name}")  # noqa: S311 - play

    def start(self) -> None:
        """Connect, now or, when the device is away at first, later."""
        if self._random.random() < self.behaviour.offline:
            self._later(self._random.uniform(*self.behaviour.away), self._connect)
        else:
            self._connect()

    async def stop(self) -> None:
        """Disconnect and leave no session behind."""
        self._stopped = True
        self._quiet()
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if (connection := self._connection) is not None:
            connection.close(session_expiry=0)
            await connection.wait_closed()

    # The connection

    def _connect(self) -> None:
        if not self._stopped:
            self._connecting = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        settings = ConnectSettings(
            client_id=self.name,
            username=self.name,
            password=self.token,
            clean_start=False,
            session_expiry=SESSION_SECONDS,
            keep_alive=_KEEP_ALIVE,
            receive_max=20,
        )
        wait = 0.1
        while not self._stopped:
            try:
                self._connection, _ = await connect(
                    self.address, settings, on_packets=self._received, on_lost=self._lost
                )
            except ConnectError as error:
                self.tally.refused[_reason(error)] += 1
                await asyncio.sleep(self._random.uniform(wait / 2, wait))
                wait = min(2 * wait, _BACKOFF_SECONDS)
            else:
                break
        self.tally.connected += 1
        self.tally.connects += 1
        self._subscribe()

    def _subscribe(self) -> None:
        jobs = f"$aws/things/{self.name}/jobs"
        filters = [
            f"{jobs}/notify-next",
            f"{jobs}/start-next/accepted",
            f"{jobs}/start-next/rejected",
            f"{jobs}/+/update/accepted",
            f"{jobs}/+/update/rejected",
        ]
        if self._connection is not None:
            self._connection.send(encode_subscribe(self._connection.next_packet_id(), filters))

    def _lost(self, reason: str) -> None:
        del reason
        self._connection = None
        self.tally.connected -= 1
        if not self._stopped:
            self.tally.lost += 1
            self._quiet()
            self._later(self._random.uniform(*self.behaviour.away), self._connect)

    def _quiet(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for asked in self._asked.values():
            if asked.timer is not None:
                asked.timer.cancel()
        self._asked.clear()
        self._job = None

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, action)

    # What comes in

    def _received(self, packets: list[Packet]) -> None:
        self.tally.last_activity = asyncio.get_running_loop().time()
        for packet in packets:
            if isinstance(packet, SubAckPacket):
                self._ask_next()
            elif isinstance(packet, PublishPacket):
                self._message(packet)

    def _message(self, packet: PublishPacket) -> None:
        if packet.packet_id is not None and self._connection is not None:
            self._connection.send(encode_puback(packet.packet_id))
        try:
            body = json.loads(packet.payload)
        except ValueError:
            body = {}
        if packet.topic.endswith("/notify-next"):
            self._told_next(body)
        else:
            self._answered(body, accepted=packet.topic.endswith("/accepted"))

    def _told_next(self, body: dict[str, Any]) -> None:
        self.tally.notified += 1
        if not body.get("execution"):
            return
        if self.tally.first_notified is None:
            self.tally.first_notified = asyncio.get_running_loop().time()
        if self._job is None and not self._asked:
            self._ask_next()
        else:
            self._next_known = True

    def _answered(self, body: dict[str, Any], *, accepted: bool) -> None:
        asked = self._asked.pop(str(body.get("clientToken")), None)
        if asked is None:
            return
        if asked.timer is not None:
            asked.timer.cancel()
        if accepted:
            self.tally.accepted += 1
            self.tally.answers.add(asyncio.get_running_loop().time() - asked.at)
            asked.on_accepted(body)
        elif asked.topic.endswith("/start-next"):
            self.tally.rejected[str(body.get("code"))] += 1
            self._later(ANSWER_SECONDS, self._ask_next)
        else:
            # What we knew of the job is no longer so (canceled, timed out): look what is next.
            self.tally.rejected[str(body.get("code"))] += 1
            self._end_job()

    # What goes out

    def _ask(
        self, path: str, body: dict[str, object], on_accepted: Callable[[dict[str, Any]], None]
    ) -> None:
        self._numbered += 1
        token = f"{self.name}-{self._random.getrandbits(48):x}-{self._numbered}"
        asked = _Asked(
            f"$aws/things/{self.name}/jobs/{path}",
            json.dumps({**body, "clientToken": token}).encode(),
            asyncio.get_running_loop().time(),
            on_accepted,
        )
        self._asked[token] = asked
        self.tally.requests += 1
        self._send(asked)

    def _send(self, asked: _Asked) -> None:
        loop = asyncio.get_running_loop()
        asked.timer = loop.call_later(ANSWER_SECONDS, self._send_again, asked)
        if self._connection is not None:
            number = self._connection.next_packet_id()
            self._connection.send(
                encode_publish(asked.topic, asked.payload, qos=1, packet_id=number)
            )

    def _send_again(self, asked: _Asked) -> None:
        # The same clientToken: done once, answered again.
        self.tally.repeated += 1
        self._send(asked)

    def _ask_next(self) -> None:
        self._next_known = False
        self._ask("start-next", {"statusDetails": {"by": "simulator"}}, self._begin)

    def _begin(self, body: dict[str, Any]) -> None:
        execution = body.get("execution")
        if not execution:
            self._end_job()
            return
        failed = self._random.random() < self.behaviour.fail
        self._job = _Job(
            str(execution["jobId"]),
            int(execution["versionNumber"]),
            "FAILED" if failed else "SUCCEEDED",
        )
        cut = self._random.random() < self.behaviour.offline
        half = self._random.uniform(*self.behaviour.latency) / 2
        self._later(half, self._cut_off if cut else lambda: self._progress(half))

    def _cut_off(self) -> None:
        if self._connection is not None:
            self._connection.abort("simulated loss")

    def _progress(self, half: float) -> None:
        self._report("IN_PROGRESS", {"progress": "50%"}, lambda _: self._later(half, self._finish))

    def _finish(self) -> None:
        if (job := self._job) is None:
            return
        reason = {"progress": "100%"} if job.outcome == "SUCCEEDED" else {"reason": "simulated"}
        self._report(job.outcome, reason, lambda _: self._finished(job.outcome))

    def _report(
        self, status: str, details: dict[str, str], then: Callable[[dict[str, Any]], None]
    ) -> None:
        if (job := self._job) is None:
            return
        body = {"status": status, "statusDetails": details, "expectedVersion": job.version}
        job.version += 1
        self._ask(f"{job.job_id}/update", body, then)

    def _finished(self, outcome: str) -> None:
        self.tally.outcomes[outcome] += 1
        self._job = None
        if self._next_known:
            self._ask_next()

    def _end_job(self) -> None:
        was_at_work = self._job is not None
        self._job = None
        if was_at_work or self._next_known:
            self._ask_next()


def _reason(error: ConnectError) -> str:
    return error.reason if isinstance(error, ConnectRefusedError) else type(error).__name__
