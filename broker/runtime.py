"""The composition root: what a serving process is made of, in which order it starts and stops.

Stateless: whatever is worth keeping is in PostgreSQL or unacknowledged at the MQTT server, so that any number of these
processes share the work and killing one loses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import structlog

from broker.audience import Audience
from broker.chores import Chores
from broker.dispatch import Dispatcher
from broker.draining import drain_session, note_drained, wind_down
from broker.listener import listen
from broker.local_settings import SettingsError
from broker.metrics import Metrics
from broker.mqtt.link import Link, LinkEvent, LinkSettings
from broker.notifier import Notifier
from broker.operators import OperatorDoor
from broker.outside import outside_of, store_of
from broker.refusals import Refusals
from broker.service import every
from broker.settings import Settings
from broker.slots import Slot, Takeover
from broker.streams import Streams
from broker.telling_again import TellingAgain
from broker.things_stack.services import StackServices, stack_means
from broker.things_stack.wiring import worker_of
from handlers.database import Pool, create_pool
from handlers.documents import Documents
from handlers.migrate import require_current
from handlers.telling import Teller
from schema.topics import TopicMode, subscriptions

if TYPE_CHECKING:
    from broker.http.server import HttpServer
    from broker.tracing import Tracing

log = structlog.get_logger(__name__)


class Broker:
    """One serving process, wired. Use `serve`."""

    def __init__(self, settings: Settings, pool: Pool, slot: Slot) -> None:
        self._settings = settings
        self._pool = pool
        self._slot = slot
        self._url = settings.database_url.get_secret_value()
        self._run_work = asyncio.Event()
        self._telling_again = TellingAgain(pool, slot)
        self._documents = Documents(settings.document_cache_bytes, signer=store_of(settings))
        self._filters = subscriptions(settings.mqtt_topics)
        self._outside = replace(outside_of(settings), documents=self._documents)
        self._audience = Audience(settings.mqtt_topics)
        self._metrics = Metrics()
        self._tracing = _tracing_of(settings)
        self.streams = Streams(pool, self._audience)
        self._serving = False
        self.link = self._make_link(slot.number, self._filters, self._telling_again.on_event)
        self.notifier = Notifier(
            pool,
            self._documents,
            self.link,
            mode=settings.mqtt_topics,
            slot=slot.number,
            metrics=self._metrics,
        )
        self._chores = Chores(
            pool,
            slot=slot.number,
            tell=self.notifier.tell,
            audience=self._audience,
            retained=timedelta(days=settings.retention_days),
        )
        self._stack = StackServices(
            pool, self._url, stack_means(settings), Teller(slot.number, self.notifier.tell)
        )
        self._door = OperatorDoor(
            pool,
            mode=settings.mqtt_topics,
            slot=slot.number,
            tell=self.notifier.tell,
            outside=self._outside,
            largest=lambda: self.link.largest_packet,
            metrics=self._metrics,
            tracing=self._tracing,
        )
        self._refusals = Refusals(pool, slot=slot.number)
        self._runs = worker_of(settings, pool, slot=slot.number, tell=self.notifier.tell)
        self.dispatcher = self._make_dispatcher()
        self._http = self._make_http()

    async def run(
        self, stop: asyncio.Event, on_ready: Callable[[], None], on_access: Callable[[], None]
    ) -> None:
        """Serve until `stop`; then finish what was taken, tell what was written, and disconnect."""
        async with asyncio.TaskGroup() as group:
            if self._http is not None:
                group.create_task(self._http.run(), name="http")
            lasting = [
                group.create_task(self.link.run(), name="link"),
                group.create_task(self.dispatcher.run(self.link), name="dispatch"),
            ]
            background = [
                group.create_task(work, name=name)
                for name, work in self._services(on_access).items()
            ]
            ready = group.create_task(self._announce(on_ready), name="ready")
            await stop.wait()
            ready.cancel()
            await self._stop(background)
            for task in lasting:
                task.cancel()
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close)

    def _services(self, on_access: Callable[[], None]) -> dict[str, Coroutine[None, None, None]]:
        """The background work, by name: it is cancelled when what was taken is done."""
        notifier, telling_again = self.notifier, self._telling_again
        takeover = Takeover(self._pool, self._url, self._drain)
        resync = partial(telling_again.run_once, self.link, notifier)
        return {
            "notifier": notifier.run(),
            "slot": self._slot.keep(),
            "listener": listen(self._url, self._heard(on_access)),
            "adopt": every("adopt", notifier.adopt, seconds=5, wake=notifier.orphans),
            "streams": every("streams", self.streams.run_once, seconds=5, wake=self.streams.wake),
            "resync": every("resync", resync, seconds=60, wake=telling_again.wake),
            "takeover": every("takeover", takeover.run_once, seconds=2),
            "refusals": every("refusals", self._refusals.run_once, seconds=2),
            **self._chores.services(),
            **self._stack.services(),
            "ttn_runs": every("ttn_runs", self._runs.run_once, seconds=1, wake=self._run_work),
        }

    def _heard(self, on_access: Callable[[], None]) -> dict[str, Callable[[], None]]:
        """What is done when PostgreSQL notifies on a channel."""
        return {
            "jobbroker_outbox": self.notifier.look_again_for_orphans,
            "jobbroker_work": self._wake_work,
            "jobbroker_access": on_access,
            "jobbroker_streams": self.streams.wake.set,
            "jobbroker_events": self.streams.look_again,
        }

    async def _stop(self, background: Iterable[asyncio.Task[None]]) -> None:
        self._serving = False
        self.streams.close()
        if self._http is not None:
            await self._http.close()
        ended = await wind_down(
            self.link, self._filters, self._slot, self.dispatcher, self.notifier
        )
        for task in background:
            task.cancel()
        await self._stack.close()
        await self._runs.close()
        await self.link.close(end_session=ended)
        if ended:
            await self._slot.session_ended()

    async def _announce(self, on_ready: Callable[[], None]) -> None:
        await self.link.connected()
        await self._slot.serving()
        self._serving = True
        on_ready()

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
            note_refused=self._refusals.note,
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
            outside=self._outside,
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

    def _wake_work(self) -> None:
        """Somebody, perhaps in this process, has left work that is not done by its own transaction."""
        self._chores.wake()
        self._run_work.set()

    async def _drain(self, number: int) -> None:
        """Take a dead slot's session over."""
        log.info("draining", slot=number)
        link = self._make_link(number, [], note_drained)
        await drain_session(link, self._make_dispatcher(), self._filters)
        self.notifier.look_again_for_orphans()


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
