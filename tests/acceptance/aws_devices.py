"""AWS's own Jobs clients, unmodified, behind one face: both generations, over MQTT 3.1.1 and 5, by mutual TLS."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from awscrt import mqtt, mqtt5, mqtt_request_response
from awsiot import (
    ServiceStreamOptions,
    V2ServiceException,
    iotjobs,
    mqtt5_client_builder,
    mqtt_connection_builder,
)

from tests.helpers import PATIENCE

# Typed loosely: the SDK's generated code carries no annotations.
_JOBS: Any = iotjobs
T = TypeVar("T")
# A client that is freed before its threads have stopped takes the whole test run down with it.
_STOPPED: dict[mqtt5.Client, Future[None]] = {}


class SdkRejected(Exception):
    """The request was rejected; `error` is the SDK's own (RejectedError of V1, V2ErrorResponse of V2)."""

    def __init__(self, error: Any) -> None:  # noqa: ANN401 - one of two generated classes
        super().__init__(f"{error.code}: {error.message}")
        self.error = error


@dataclass(frozen=True, slots=True)
class Certificate:
    """Who a device is, and where it connects."""

    thing: str
    port: int
    certificate: Path
    key: Path
    authority: Path

    @property
    def files(self) -> dict[str, Any]:
        """What the SDK's builders take."""
        return {
            "endpoint": "127.0.0.1",
            "port": self.port,
            "cert_filepath": str(self.certificate),
            "pri_key_filepath": str(self.key),
            "ca_filepath": str(self.authority),
            "client_id": self.thing,
        }


class AwsDevice(Protocol):
    """A device of either generation. Events arrive in `notified` and `next_changed`, in order."""

    notified: asyncio.Queue[Any]
    next_changed: asyncio.Queue[Any]

    async def listen(self) -> None:
        """Subscribe to notify and notify-next."""

    async def ask(self, operation: str, **fields: object) -> Any:  # noqa: ANN401 - the SDK's response
        """Send one request, named as the SDK names it; raises SdkRejected."""


async def connect(certificate: Certificate, protocol: str) -> mqtt.Connection | mqtt5.Client:
    """Connect over MQTT "3.1.1" or "5", as AWS's builders set it up."""
    if protocol == "3.1.1":
        connection = mqtt_connection_builder.mtls_from_path(
            clean_session=True, keep_alive_secs=30, **certificate.files
        )
        await done(connection.connect())
        return connection
    connected: Future[None] = Future()
    stopped: Future[None] = Future()
    client = mqtt5_client_builder.mtls_from_path(
        on_lifecycle_connection_success=lambda _: connected.set_result(None),
        on_lifecycle_connection_failure=lambda data: connected.set_exception(data.exception),
        on_lifecycle_stopped=lambda _: stopped.set_result(None),
        **certificate.files,
    )
    client.start()
    await done(connected)
    _STOPPED[client] = stopped
    return client


async def disconnect(connection: mqtt.Connection | mqtt5.Client) -> None:
    """End a connection, and wait until it has ended."""
    if isinstance(connection, mqtt.Connection):
        await done(connection.disconnect())
    else:
        connection.stop()
        await done(_STOPPED.pop(connection))


async def done(future: Future[T]) -> T:
    """Wait for one of the SDK's futures, at most PATIENCE."""
    async with asyncio.timeout(PATIENCE):
        return await asyncio.wrap_future(future)


async def soon(queue: asyncio.Queue[T]) -> T:
    """The next event, within PATIENCE."""
    async with asyncio.timeout(PATIENCE):
        return await queue.get()


class _Events:
    """Hands what arrives on the SDK's threads to the test's loop."""

    def __init__(self) -> None:
        self.notified: asyncio.Queue[Any] = asyncio.Queue()
        self.next_changed: asyncio.Queue[Any] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def on_notify(self, event: object) -> None:
        self._loop.call_soon_threadsafe(self.notified.put_nowait, event)

    def on_notify_next(self, event: object) -> None:
        self._loop.call_soon_threadsafe(self.next_changed.put_nowait, event)


class V1Device(_Events):
    """IotJobsClient: subscribes to both answers of an operation, then publishes; one request at a time."""

    def __init__(self, connection: mqtt.Connection | mqtt5.Client, thing: str) -> None:
        super().__init__()
        if isinstance(connection, mqtt5.Client):
            connection = connection.new_connection()
        self._client = _JOBS.IotJobsClient(connection)
        self._thing = thing
        self._subscribed: set[str] = set()
        self._answer: asyncio.Future[Any] = self._loop.create_future()

    async def listen(self) -> None:
        """Subscribe to notify and notify-next."""
        named = {"thing_name": self._thing}
        for subscribe, request, callback in (
            (
                self._client.subscribe_to_job_executions_changed_events,
                _JOBS.JobExecutionsChangedSubscriptionRequest,
                self.on_notify,
            ),
            (
                self._client.subscribe_to_next_job_execution_changed_events,
                _JOBS.NextJobExecutionChangedSubscriptionRequest,
                self.on_notify_next,
            ),
        ):
            subscribed, _ = subscribe(request(**named), mqtt.QoS.AT_LEAST_ONCE, callback)
            await done(subscribed)

    async def ask(self, operation: str, **fields: object) -> Any:  # noqa: ANN401 - the SDK's response
        """Send one request and wait for its answer. Raises SdkRejected."""
        named = {"thing_name": self._thing}
        if "job_id" in fields:
            named["job_id"] = str(fields["job_id"])
        rest = {name: value for name, value in fields.items() if name != "job_id"}
        await self._subscribe(operation, named)
        self._answer = self._loop.create_future()
        request = getattr(_JOBS, f"{_class_name(operation)}Request")(**named, **rest)
        publish = getattr(self._client, f"publish_{operation}")
        await done(publish(request, mqtt.QoS.AT_LEAST_ONCE))
        async with asyncio.timeout(PATIENCE):
            answer = await self._answer
        if isinstance(answer, _JOBS.RejectedError):
            raise SdkRejected(answer)
        return answer

    async def _subscribe(self, operation: str, named: dict[str, str]) -> None:
        request = getattr(_JOBS, f"{_class_name(operation)}SubscriptionRequest")(**named)
        for answer in ("accepted", "rejected"):
            subscribe = getattr(self._client, f"subscribe_to_{operation}_{answer}")
            if (key := f"{operation} {named} {answer}") not in self._subscribed:
                self._subscribed.add(key)
                await done(subscribe(request, mqtt.QoS.AT_LEAST_ONCE, self._on_answer)[0])

    def _on_answer(self, answer: object) -> None:
        self._loop.call_soon_threadsafe(self._answer.set_result, answer)


class V2Device(_Events):
    """IotJobsClientV2: request and response by clientToken, streams for the notifications."""

    def __init__(self, connection: mqtt.Connection | mqtt5.Client, thing: str) -> None:
        super().__init__()
        options = mqtt_request_response.ClientOptions(
            max_request_response_subscriptions=4, max_streaming_subscriptions=2
        )
        options.operation_timeout_in_seconds = int(PATIENCE)
        self._client = _JOBS.IotJobsClientV2(connection, options)
        self._thing = thing
        self._streams: list[Any] = []

    async def listen(self) -> None:
        """Open both streams and wait until their subscriptions stand."""
        for create, request, callback in (
            (
                self._client.create_job_executions_changed_stream,
                _JOBS.JobExecutionsChangedSubscriptionRequest,
                self.on_notify,
            ),
            (
                self._client.create_next_job_execution_changed_stream,
                _JOBS.NextJobExecutionChangedSubscriptionRequest,
                self.on_notify_next,
            ),
        ):
            established: Future[object] = Future()
            options = ServiceStreamOptions(
                incoming_event_listener=callback,
                subscription_status_listener=established.set_result,
            )
            stream = create(request(thing_name=self._thing), options)
            self._streams.append(stream)
            stream.open()
            await done(established)

    async def ask(self, operation: str, **fields: object) -> Any:  # noqa: ANN401 - the SDK's response
        """Send one request and wait for its answer. Raises SdkRejected."""
        request = getattr(_JOBS, f"{_class_name(operation)}Request")
        call = getattr(self._client, operation)
        try:
            return await done(call(request(thing_name=self._thing, **fields)))
        except V2ServiceException as problem:
            if problem.modeled_error is None:
                raise
            raise SdkRejected(problem.modeled_error) from problem


def _class_name(operation: str) -> str:
    return "".join(word.title() for word in operation.split("_"))
