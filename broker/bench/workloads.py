"""What the load's clients do: updates and cycles as fast as they are answered, or as scheduled."""

from __future__ import annotations

import threading
import time
from array import array
from asyncio import AbstractEventLoop, get_running_loop
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from broker.bench.client import Client
from broker.bench.packets import Template, member, token_in, token_of
from broker.bench.schedule import Schedule

DONE: Final = b'{"status":"SUCCEEDED"}'
PROGRESS: Final = b'{"status":"IN_PROGRESS","statusDetails":{"step":"download","percent":"42"}}'
CREATES_SEED, UPDATES_SEED = 1, 2
# Requests due within this time leave together: finer would only wake the process more often.
_TICK_SECONDS: Final = 0.0005
_LATE_SECONDS: Final = 1.0


@dataclass(slots=True)
class Window:
    """What was seen between two marks. Times in seconds; `began` on the monotonic clock."""

    began: float
    ended: float = 0.0
    done: int = 0
    rejected: int = 0
    first_rejection: str = ""
    took: array[float] = field(default_factory=lambda: array("d"))
    notified: array[float] = field(default_factory=lambda: array("d"))
    sent_late: array[float] = field(default_factory=lambda: array("d"))
    # When what took so long was due, and what was notified of so late: of an open loop alone.
    due: array[float] = field(default_factory=lambda: array("d"))
    notified_due: array[float] = field(default_factory=lambda: array("d"))
    last_late_answer: float = 0.0


class Workload(Protocol):
    """Something that the load is doing until `stop`."""

    window: Window
    last_answer: float

    def start(self) -> None:
        """Begin to send."""

    def stop(self) -> None:
        """Send nothing new."""

    @property
    def waiting(self) -> int:
        """How many requests are unanswered."""


class Asking:
    """Requests by clientToken, each answer with the time that it took."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self.window = Window(time.monotonic())
        self.clients = clients
        self.stopped = False
        self.last_answer = 0.0
        self._number = 0
        self._asked: dict[bytes, float] = {}
        for client in clients:
            client.hear = self.hear

    @property
    def waiting(self) -> int:
        """How many requests are unanswered."""
        return len(self._asked)

    def stop(self) -> None:
        """Send nothing new."""
        self.stopped = True

    def ask(self, client: Client, template: Template, at: float) -> None:
        """Send a request whose latency counts from `at`."""
        self._number += 1
        token = token_of(self._number)
        self._asked[token] = at
        client.send(template, token)

    def hear(self, client: Client, topic: str, payload: bytes) -> None:
        """Take an answer or a notification."""
        if topic.endswith("/accepted"):
            at = self._asked.pop(token_in(payload), None)
            if at is not None:
                now = time.monotonic()
                self.last_answer = now
                self.answered(client, topic, payload, now - at)
        elif topic.endswith("/rejected"):
            self._asked.pop(token_in(payload), None)
            window = self.window
            window.rejected += 1
            window.first_rejection = window.first_rejection or payload.decode(errors="replace")
            self.refused(client)

    def answered(self, client: Client, topic: str, payload: bytes, took: float) -> None:
        """Count an accepted request."""
        del client, topic, payload
        window = self.window
        window.done += 1
        window.took.append(took)
        if took > _LATE_SECONDS:
            window.last_late_answer = self.last_answer

    def refused(self, client: Client) -> None:
        """Go on after a rejection."""


class ClosedUpdates(Asking):
    """Each client keeps so many updates of one job on their way, for what can be done at most."""

    def __init__(self, clients: Sequence[Client], jobs: Sequence[str], outstanding: int) -> None:
        super().__init__(clients)
        self._outstanding = outstanding
        self._templates = update_templates(clients, jobs)

    def start(self) -> None:
        """Send the first requests; each answer sends the next."""
        for client in self.clients:
            for _ in range(self._outstanding):
                self.refused(client)

    def answered(self, client: Client, topic: str, payload: bytes, took: float) -> None:
        """Count it and send the next."""
        super().answered(client, topic, payload, took)
        self.refused(client)

    def refused(self, client: Client) -> None:
        """Send the next."""
        if not self.stopped:
            self.ask(client, self._templates[client.name], time.monotonic())


class Cycles(Asking):
    """Each client starts its next execution and reports that it succeeded, until none is left."""

    def __init__(self, clients: Sequence[Client]) -> None:
        super().__init__(clients)
        self.dry = 0
        self._starts = {
            one.name: Template(
                f"$aws/things/{one.name}/jobs/start-next", b'{"stepTimeoutInMinutes":60}'
            )
            for one in clients
        }

    def start(self) -> None:
        """Have each client begin its first cycle."""
        for client in self.clients:
            self.refused(client)

    def answered(self, client: Client, topic: str, payload: bytes, took: float) -> None:
        """Report the outcome of what was started; a cycle is done when that is accepted."""
        if not topic.endswith("/start-next/accepted"):
            super().answered(client, topic, payload, took)
            self.refused(client)
        elif (job := member(payload, b"jobId")) is None:
            self.dry += 1
        else:
            topic = f"$aws/things/{client.name}/jobs/{job.decode()}/update"
            self.ask(client, Template(topic, DONE), time.monotonic() - took)

    def refused(self, client: Client) -> None:
        """Begin the next cycle."""
        if not self.stopped and not self.dry:
            self.ask(client, self._starts[client.name], time.monotonic())


class Lives(Asking):
    """Each client does whatever it is told of by notify-next: starts it, reports progress, then success.

    Somebody else creates the jobs, and so decides how many lives there are a second.
    """

    def __init__(self, clients: Sequence[Client]) -> None:
        super().__init__(clients)
        self._busy: dict[str, bytes] = {}  # what each client sent last about its job
        self._told: set[str] = set()  # of something while it asked
        self._starts = {
            one.name: Template(
                f"$aws/things/{one.name}/jobs/start-next", b'{"stepTimeoutInMinutes":60}'
            )
            for one in clients
        }

    def start(self) -> None:
        """Ask for what was told before."""
        for client in self.clients:
            self._begin(client)

    def hear(self, client: Client, topic: str, payload: bytes) -> None:
        """Take an answer, or begin what is next."""
        if not topic.endswith("/notify-next"):
            super().hear(client, topic, payload)
        elif member(payload, b"jobId") is not None:
            self._told.add(client.name)
            self._begin(client)

    def answered(self, client: Client, topic: str, payload: bytes, took: float) -> None:
        """Send the next message of the life; it is done when its success is accepted."""
        if topic.endswith("/start-next/accepted"):
            job = member(payload, b"jobId")
            if job is None:
                del self._busy[client.name]
                if client.name in self._told:
                    self._begin(client)
                return
            topic = f"$aws/things/{client.name}/jobs/{job.decode()}/update/accepted"
        elif self._busy[client.name] == DONE:
            super().answered(client, topic, payload, took)
            del self._busy[client.name]  # what comes next is told by notify-next
            return
        report = DONE if self._busy[client.name] == PROGRESS else PROGRESS
        self._busy[client.name] = report
        self.ask(client, Template(topic.removesuffix("/accepted"), report), time.monotonic())

    def refused(self, client: Client) -> None:
        """Wait for the next job."""
        self._busy.pop(client.name, None)

    def _begin(self, client: Client) -> None:
        if not self.stopped and client.name not in self._busy:
            self._busy[client.name] = b""
            self._told.discard(client.name)
            self.ask(client, self._starts[client.name], time.monotonic())


class OpenLoop(Asking):
    """Updates at a given rate, and beside them jobs that an operator creates for one thing each.

    A created job's latency ends when its thing hears of it by notify-next. The thing then reports
    success, so that the next job is again its first. With all creators' things busy a creation
    waits, and its latency counts from when it was due.
    """

    def __init__(
        self,
        clients: Sequence[Client],
        job: str,
        per_second: float,
        *,
        creates_per_second: float = 0.0,
        operator: Client | None = None,
        notified: Sequence[Client] = (),
    ) -> None:
        super().__init__([*clients, *([operator] if operator else ())])
        self._things = list(clients)
        self._templates = update_templates(clients, [job])
        self._rates = (per_second, creates_per_second)
        self._operator = operator
        self._idle = deque(notified)
        self._due_creates: deque[float] = deque()
        self._created: dict[bytes, float] = {}
        self._prefix = f"c{time.time_ns():x}"
        self._next_thing = 0
        for thing in notified:
            thing.hear = self._hear_notification

    @property
    def waiting(self) -> int:
        """How many requests are unanswered and jobs not heard of."""
        return super().waiting + len(self._created) + len(self._due_creates)

    def start(self) -> None:
        """Send what is due whenever it is due, from a thread that wakes exactly then."""
        begin = time.monotonic()
        updates, creates = self._rates
        self._updates = Schedule(updates, seed=UPDATES_SEED, start=begin)
        self._creates = Schedule(creates, seed=CREATES_SEED, start=begin) if creates else None
        threading.Thread(target=self._wake, args=(get_running_loop(),), daemon=True).start()

    def _wake(self, loop: AbstractEventLoop) -> None:
        # The loop's own timers know whole milliseconds only.
        while not self.stopped:
            next_at = self._updates.next_at
            if self._creates is not None:
                next_at = min(next_at, self._creates.next_at)
            time.sleep(max(next_at - time.monotonic(), _TICK_SECONDS))
            loop.call_soon_threadsafe(self._send_due)

    def _send_due(self) -> None:
        now = time.monotonic()
        if self.stopped:
            return
        for at in self._updates.take(now):
            client = self._things[self._next_thing]
            self._next_thing = (self._next_thing + 1) % len(self._things)
            self.window.sent_late.append(now - at)
            self.ask(client, self._templates[client.name], at)
        if self._creates is not None:
            self._due_creates.extend(self._creates.take(now))
            self._create()

    def _create(self) -> None:
        while self._operator is not None and self._due_creates and self._idle:
            thing, at = self._idle.popleft(), self._due_creates.popleft()
            job = f"{self._prefix}-{self._number}"
            self._created[job.encode()] = at
            body = (
                f'{{"jobId":"{job}","document":{{"operation":"reboot"}},'
                f'"targets":["arn:aws:iot:us-east-1:000000000000:thing/{thing.name}"]}}'
            )
            topic = f"operators/{self._operator.name}/jobs/create"
            self.ask(self._operator, Template(topic, body.encode()), at)

    def answered(self, client: Client, topic: str, payload: bytes, took: float) -> None:
        """Count updates; a created job counts when its thing hears of it."""
        if client is not self._operator:
            super().answered(client, topic, payload, took)
            self.window.due.append(self.last_answer - took)

    def _hear_notification(self, thing: Client, topic: str, payload: bytes) -> None:
        if not topic.endswith("/notify-next"):
            if topic.endswith("/accepted"):
                self._idle.append(thing)
                self._create()
            return
        job = member(payload, b"jobId")
        at = self._created.pop(job, None) if job else None
        if job and at is not None:
            self.window.notified.append(time.monotonic() - at)
            self.window.notified_due.append(at)
            update = Template(f"$aws/things/{thing.name}/jobs/{job.decode()}/update", DONE)
            thing.send(update, token_of(0))


def update_templates(clients: Sequence[Client], jobs: Sequence[str]) -> dict[str, Template]:
    """The progress report of each client about its job; the jobs go around."""
    return {
        client.name: Template(
            f"$aws/things/{client.name}/jobs/{jobs[number % len(jobs)]}/update", PROGRESS
        )
        for number, client in enumerate(clients)
    }
