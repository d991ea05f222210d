"""The composition root: what a serving process is made of, in which order it starts and stops.

Stateless: whatever is worth keeping is in PostgreSQL or unacknowledged at the MQTT server, so that any number of these
processes share the work and killing one loses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from broker.audience import Audience
from broker.dispatch import Dispatcher
from broker.listener import listen
from broker.metrics import Metrics
from broker.mqtt.link import (
    Connected,
    ConnectFailed,
    Link,
    LinkEvent,
    LinkSettings,
    Lost,
    PublishDenied,
    RetryIn,
    SubscriptionRefused,
)
from broker.notifier import Notifier
from broker.operators import OperatorDoor
from broker.outside import outside_of, store_of
from broker.service import every
from broker.settings import Settings, SettingsError
from broker.slots import Slot, Takeover
from broker.streams import Streams
from broker.things_stack.services import StackServices, stack_means
from broker.things_stack.wiring import worker_of
from handlers import batch_ledger, chunks, gates, outbox, retention, schedules, streams, timeouts
from handlers.database import Pool, create_pool
from handlers.documents import Documents
from handlers.migrate import require_current
from schema.topics import TopicMode, subscriptions

if TYPE_CHECKING:
    from broker.http.server import HttpServer
    from broker.tracing import Tracing

log = structlog.get_logger(__name__)

_DRAIN_SECONDS = 5.0
_LOOK_SECONDS = 0.02
_QUIET_SECONDS = 1.0
_WORK_SECONDS = 1.0


class Broker:
    """One serving process, wired. Use `serve`."""

    def __init__(self, settings: Settings, pool: Pool, slot: Slot) -> None:
        self._settings = settings
        self._pool = pool
        self._slot = slot
        self._work = asyncio.Event()
        self._gates = asyncio.Event()
        self._run_work = asyncio.Event()
        self._progress = chunks.Progress()
        self._rollout_due: asyncio.TimerHandle | None = None
        self._told_again = asyncio.Event()
        self._connected_at = 0.0
        self._lost_at: float | None = None  # since then the MQTT server may have lost what we told
        self._documents = Documents(settings.document_cache_bytes, signer=store_of(settings))
        self._filters = subscriptions(settings.mqtt_topics)
        self._audience = Audience(settings.mqtt_topics)
        self._metrics = Metrics()
        self._tracing = _tracing_of(settings)
        self.streams = Streams(pool, self._audience)
        self._serving = False
        self.link = self._make_link(slot.number, self._filters, self._on_link_event)
        self.notifier = Notifier(
            pool,
            self._documents,
            self.link,
            mode=settings.mqtt_topics,
            slot=slot.number,
            metrics=self._metrics,
        )
        self._stack = StackServices(
            pool, settings.database_url.get_secret_value(), stack_means(settings)
        )
        self._door = OperatorDoor(
            pool,
            mode=settings.mqtt_topics,
            slot=slot.number,
            tell=self.notifier.tell,
            wake_work=self._wake_work,
            outside=outside_of(settings),
            metrics=self._metrics,
            tracing=self._tracing,
        )
        self._runs = worker_of(settings, pool, slot=slot.number, tell=self.notifier.tell)
        self.dispatcher = self._make_dispatcher()
        self._http = self._make_http()

    async def run(
        self, stop: asyncio.Event, on_ready: Callable[[], None], on_access: Callable[[], None]
    ) -> None:
        """Serve until `stop`; then finish what was taken, tell what was written, and disconnect."""
        url = self._settings.database_url.get_secret_value()
        async with asyncio.TaskGroup() as group:
            if self._http is not None:
                group.create_task(self._http.run(), name="http")
            link = group.create_task(self.link.run(), name="link")
            dispatch = group.create_task(self.dispatcher.run(self.link), name="dispatch")
            background = [
                group.create_task(work, name=name)
                for name, work in {
                    "notifier": self.notifier.run(),
                    "slot": self._slot.keep(),
                    "listener": listen(
                        url,
                        {
                            "jobbroker_outbox": self.notifier.look_again_for_orphans,
                            "jobbroker_work": self._wake_work,
                            "jobbroker_access": on_access,
                            "jobbroker_streams": self.streams.wake.set,
                            "jobbroker_events": self.streams.look_again,
                        },
                    ),
                    "adopt": every(
                        "adopt", self.notifier.adopt, seconds=5, wake=self.notifier.orphans
                    ),
                    "work": every("work", self._do_work, seconds=_WORK_SECONDS, wake=self._work),
                    "timeouts": every("timeouts", self._time_out, seconds=0.5),
                    "gates": every("gates", self._look_at_gates, seconds=0.5, wake=self._gates),
                    "schedules": every("schedules", self._keep_schedules, seconds=0.5),
                    "streams": every(
                        "streams", self.streams.run_once, seconds=5, wake=self.streams.wake
                    ),
                    "ttn_provisioning": every(
                        "ttn_provisioning", self._stack.provisioner.run_once, seconds=1
                    ),
                    "ttn_batches": every("ttn_batches", self._stack.batches.run_once, seconds=1),
                    "ttn_runs": every(
                        "ttn_runs", self._runs.run_once, seconds=1, wake=self._run_work
                    ),
                    "retention": every("retention", self._forget, seconds=600),
                    "resync": every(
                        "resync", self._tell_again_if_lost, seconds=60, wake=self._told_again
                    ),
                    "takeover": every(
                        "takeover", Takeover(self._pool, url, self._drain).run_once, seconds=2
                    ),
                }.items()
            ]
            ready = group.create_task(self._announce(on_ready), name="ready")
            await stop.wait()
            ready.cancel()
            self._serving = False
            self.streams.close()
            if self._http is not None:
                await self._http.close()
            ended = await self._wind_down()
            for task in background:
                task.cancel()
            await self._stack.close()
            await self._runs.close()
            await self.link.close(end_session=ended)
            if ended:
                await self._slot.session_ended()
            link.cancel()
            dispatch.cancel()
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close)

    async def _announce(self, on_ready: Callable[[], None]) -> None:
        await self.link.connected()
        await self._slot.serving()
        self._serving = True
        on_ready()

    async def _wind_down(self) -> bool:
        """Answer what was taken and tell what was written, as far as some seconds allow; the rest is durable anyway.

        Returns whether our session is done with: others take the requests, and it holds none any more. The last process
        leaves its session, which collects until there is one again.
        """
        log.info("stopping", unanswered=self.dispatcher.held, untold=self.notifier.depth)
        ended = False
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                if self.link.is_connected and await self._slot.leave():
                    with suppress(ConnectionError):
                        await self.link.unsubscribe(self._filters)
                        await self._until_quiet(self.link)
                        ended = self.link.is_connected
                self.dispatcher.stop_taking()
                await self.dispatcher.idle()
                await self.notifier.idle()
                await self.link.drain(_DRAIN_SECONDS)
        return ended

    def _make_dispatcher(self) -> Dispatcher:
        settings = self._settings
        return Dispatcher(
            self._pool,
            self._documents,
            self.notifier,
            self._door.answer,
            mode=settings.mqtt_topics,
            slot=self._slot.number,
            lanes=settings.lanes,
            answer_qos=settings.answer_qos,
            batch_most=settings.batch_most,
            most_waiting=4 * settings.receive_maximum,
            nobody_hears=self._audience.nobody_hears,
            metrics=self._metrics,
            tracing=self._tracing,
        )

    def _make_http(self) -> HttpServer | None:
        settings = self._settings
        if not settings.has_http:
            return None
        from broker.http.doors import Doors  # noqa: PLC0415 - half a second of imports, for those who want it
        from broker.http.wiring import Watched, http_server  # noqa: PLC0415 - as above

        doors = Doors(
            pool=self._pool,
            documents=self._documents,
            slot=self._slot.number,
            tell=self.notifier.tell,
            wake_work=self._wake_work,
            outside=outside_of(settings),
            nobody_hears=self._audience.nobody_hears,
            metrics=self._metrics,
            streams=self.streams,
            tracing=self._tracing,
        )
        watched = Watched(
            self.link, self.notifier, self.dispatcher, self.streams, lambda: self._serving
        )
        return http_server(settings, doors, watched)

    def _make_link(
        self, number: int, filters: list[str], on_event: Callable[[LinkEvent], None]
    ) -> Link:
        settings = self._settings
        where = settings.mqtt
        return Link(
            LinkSettings(
                address=where.address,
                client_id=self._slot.client_id(number),
                username=where.username,
                password=where.password,
                tls=settings.tls_context(),
                receive_max=settings.receive_maximum,
            ),
            filters,
            on_event=on_event,
            on_unheard=self._audience.note_unheard,
        )

    def _on_link_event(self, event: LinkEvent) -> None:
        match event:
            case Connected(session_present=present):
                log.info("mqtt_connected", session_present=present, slot=self._slot.number)
                self._connected_at = asyncio.get_running_loop().time()
                # A server that crashed may come back with our session and without what it held last, so the session
                # alone proves nothing.
                if self._lost_at is None and (self._slot.killed or not present):
                    self._lost_at = asyncio.get_running_loop().time()
                if self._lost_at is not None:
                    self._told_again.set()
            case Lost(reason):
                log.warning("mqtt_lost", reason=reason)
                if self._lost_at is None:
                    self._lost_at = asyncio.get_running_loop().time()
            case ConnectFailed(reason):
                log.warning("mqtt_connect_failed", reason=reason)
            case SubscriptionRefused(name, reason):
                log.error("mqtt_subscription_refused", filter=name, reason=reason)
            case PublishDenied(topic, reason):
                log.error("mqtt_publish_denied", topic=topic, reason=reason)
            case RetryIn(seconds):
                log.debug("mqtt_retry", seconds=round(seconds, 3))

    async def _tell_again_if_lost(self) -> bool:
        """We were away from the MQTT server: if it crashed, it lost what it held for the things as well.

        If we were not for long, what was told long ago is safe.
        """
        if not self.link.is_connected:
            return False
        now = asyncio.get_running_loop().time()
        if self._lost_at is None:
            lasted = now - self._connected_at
            return lasted > outbox.LATELY.total_seconds() and await outbox.forget_told(
                self._pool, slot=self._slot.number
            )
        lost_at, self._lost_at = self._lost_at, None  # it may be lost again meanwhile
        try:
            log.info("telling_again", away_seconds=round(now - lost_at, 3))
            await self.notifier.tell_again()
        except BaseException:
            self._lost_at = lost_at
            raise
        return False

    async def _do_work(self) -> bool:
        done = await chunks.run_once(
            self._pool,
            slot=self._slot.number,
            progress=self._progress,
            nobody_hears=self._audience.nobody_hears,
        )
        self.notifier.tell(done.told)
        self._wake_work_in(done.due_in)
        for failure in done.failures:
            log.error(
                "job_work_failed", job=failure.job_id, work=failure.work, exc_info=failure.error
            )
        return done.more

    def _wake_work(self) -> None:
        """Something has changed that background work may follow from."""
        self._work.set()
        self._run_work.set()
        self._gates.set()

    async def _look_at_gates(self) -> bool:
        done = await gates.run_once(self._pool, slot=self._slot.number)
        self.notifier.tell(done.told)
        for failure in done.failures:
            log.error("gates_failed", job=failure.job_id, exc_info=failure.error)
        return done.more

    def _wake_work_in(self, seconds: float | None) -> None:
        """One timer at a time: each pass sets its own, and those of passes that were woken otherwise would add up."""
        if self._rollout_due is not None:
            self._rollout_due.cancel()
            self._rollout_due = None
        if seconds is not None and seconds < _WORK_SECONDS:
            loop = asyncio.get_running_loop()
            self._rollout_due = loop.call_later(max(0.0, seconds), self._work.set)

    async def _time_out(self) -> bool:
        done = await timeouts.run_once(self._pool, slot=self._slot.number)
        self.notifier.tell(done.told)
        return done.more

    async def _keep_schedules(self) -> bool:
        return await schedules.run_once(self._pool)

    async def _forget(self) -> bool:
        older_than = timedelta(days=self._settings.retention_days)
        told, more = await retention.run_once(
            self._pool, older_than=older_than, slot=self._slot.number
        )
        self.notifier.tell(told)
        if told:
            self._work.set()
        await streams.trim_all(self._pool)
        await batch_ledger.forget(self._pool, older_than)
        return await outbox.forget_requests(self._pool) or more

    async def _drain(self, number: int) -> None:
        """Take a dead slot's session over: answer what it collected until it is quiet, then end it."""
        log.info("draining", slot=number)
        link = self._make_link(number, [], self._on_drained_event)
        # Lanes of its own: neither a drain that breaks off nor our own requests that never end may hold up the other.
        dispatcher = self._make_dispatcher()
        async with asyncio.TaskGroup() as group:
            run = group.create_task(link.run(), name=f"drain link {number}")
            serve = group.create_task(dispatcher.run(link), name=f"drain {number}")
            await link.connected()
            await link.unsubscribe(self._filters)
            await self._until_quiet(link)
            await link.close(end_session=True)
            await serve
            run.cancel()
        self.notifier.look_again_for_orphans()

    async def _until_quiet(self, link: Link) -> None:
        received = -1
        while received != link.received or link.unacknowledged:
            received = link.received
            await asyncio.sleep(_QUIET_SECONDS)

    @staticmethod
    def _on_drained_event(event: LinkEvent) -> None:
        log.info("drain_link", happened=repr(event))


def _tracing_of(settings: Settings) -> Tracing | None:
    if settings.otlp_endpoint is None:
        return None
    try:
        from broker.tracing import Tracing  # noqa: PLC0415 - an extra, for those who want spans
    except ImportError as error:
        raise SettingsError(
            "JOBBROKER_OTLP_ENDPOINT: spans need `pip install 'jobbroker[traces]'`"
        ) from error
    return Tracing(settings.otlp_endpoint, ratio=settings.otlp_ratio)


async def serve(
    settings: Settings,
    *,
    stop: asyncio.Event,
    on_ready: Callable[[], None] = lambda: None,
    on_access: Callable[[], None] = lambda: None,
) -> None:
    """Serve until `stop` is set. on_ready is called once, when requests are being taken.

    on_access is called whenever credentials may have changed. Raises what the first connection to the database raises,
    SchemaTooOldError and SchemaTooNewError, and SlotLostError when another process took this one's place.
    """
    url = settings.database_url.get_secret_value()
    async with AsyncExitStack() as stack:
        pool = await create_pool(url, size=settings.pool_size)
        stack.push_async_callback(_close, pool)
        async with pool.acquire() as connection:
            await require_current(connection)
        slot = await _unless_stopped(
            stop, Slot.take(url, alone=settings.mqtt_topics is TopicMode.PLAIN)
        )
        if slot is None:
            return
        await stack.enter_async_context(slot)
        log.info("serving", slot=slot.number, topics=str(settings.mqtt_topics))
        await Broker(settings, pool, slot).run(stop, on_ready, on_access)


async def _unless_stopped(stop: asyncio.Event, taking: Coroutine[None, None, Slot]) -> Slot | None:
    """A process that stands by may be told to stop as well."""
    stopping = asyncio.create_task(stop.wait())
    taken = asyncio.create_task(taking)
    await asyncio.wait({stopping, taken}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if taken.done():
        return taken.result()
    taken.cancel()
    await asyncio.wait({taken})
    return None


async def _close(pool: Pool) -> None:
    try:
        await asyncio.wait_for(pool.close(), 5)
    except TimeoutError:
        pool.terminate()
