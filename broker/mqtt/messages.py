"""What goes through the link, and what the link tells about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class LinkClosedError(Exception):
    """The link was closed for good while, or before, something was asked of it."""


class Inbound(NamedTuple):
    """A message from the MQTT server. `epoch` numbers the connection that brought it.

    `packet_id` is 0 with QoS 0. `traceparent` is the user property of that name (W3C Trace Context).
    `duplicate` (DUP) says that an earlier connection may have
    brought it before.
    """

    topic: str
    payload: bytes
    qos: int
    duplicate: bool
    packet_id: int
    epoch: int
    response_topic: str | None
    correlation_data: bytes | None
    traceparent: str | None = None


class Outbound(NamedTuple):
    """A message to publish, with QoS 0 or 1."""

    topic: str
    payload: bytes
    qos: int = 1
    correlation_data: bytes | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """An outbound message that was not taken, and why: a PUBACK reason's name or our own check."""

    topic: str
    reason: str


@dataclass(frozen=True, slots=True)
class Connected:
    """The link is up and its subscriptions are answered.

    Without `session_present` the server had no session for us: what it held for us, and what was
    sent to us while we were away, is gone. `receive_max` bounds our unacknowledged publishes,
    `max_packet_size` (bytes) each of them.
    """

    session_present: bool
    receive_max: int
    max_packet_size: int | None
    shared_subscriptions: bool


@dataclass(frozen=True, slots=True)
class ConnectFailed:
    """An attempt to connect came to nothing."""

    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """A connection that was up ended."""

    reason: str


@dataclass(frozen=True, slots=True)
class RetryIn:
    """The next attempt to connect follows in so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class SubscriptionRefused:
    """The server refused a topic filter; it is asked again on the next connection."""

    filter: str
    reason: str


@dataclass(frozen=True, slots=True)
class PublishDenied:
    """The server, or our own check before it, refused a message."""

    topic: str
    reason: str


LinkEvent = Connected | ConnectFailed | Lost | RetryIn | SubscriptionRefused | PublishDenied
