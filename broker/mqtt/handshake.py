"""CONNECT and its answer: what we say, and the errors when no connection comes about."""

from __future__ import annotations

import functools
import ssl
from dataclasses import dataclass, field

from broker.mqtt.address import Address
from broker.mqtt.codec import ConnAckPacket, ConnectPacket


class ConnectError(Exception):
    """No MQTT connection came about; the message says with whom and why."""


class ConnectTimeoutError(ConnectError):
    """The server did not answer in time."""


class ConnectTLSError(ConnectError):
    """TLS could not be agreed on: the certificate, the name in it, or no TLS there."""


class ConnectRefusedError(ConnectError):
    """The server answered CONNACK with a refusal; `reason` is its name, as NOT_AUTHORIZED."""

    def __init__(self, address: Address, connack: ConnAckPacket) -> None:
        self.reason = connack.reason_code.name
        detail = f": {connack.reason_str}" if connack.reason_str else ""
        super().__init__(f"MQTT server at {address} refused us: {self.reason}{detail}")


@dataclass(frozen=True, slots=True)
class ConnectSettings:
    """What CONNECT says, and how long the answer may take.

    Times in seconds; `keep_alive` 0 turns it off; `max_packet_size` in bytes, what we accept.
    `tls` is used for an `mqtts` address alone, the system's certificates when it is None.
    """

    client_id: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    clean_start: bool = True
    session_expiry: int = 0
    keep_alive: int = 30
    receive_max: int = 1000
    max_packet_size: int = 1_048_576
    tls: ssl.SSLContext | None = None
    timeout: float = 10.0

    def packet(self) -> bytes:
        """Return the CONNECT packet; raises ValueError on a text MQTT cannot carry."""
        return ConnectPacket(
            self.client_id,
            username=self.username,
            password=None if self.password is None else self.password.encode(),
            clean_start=self.clean_start,
            keep_alive=self.keep_alive,
            session_expiry_interval=self.session_expiry,
            receive_max=self.receive_max,
            max_packet_size=self.max_packet_size,
        ).write()


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """How to reach the MQTT server and how the session is kept. Times in seconds.

    `receive_max` bounds the QoS 1 messages we hold unacknowledged. The wait before each attempt
    to connect is random between 0 and `backoff_base` doubled by each attempt in a row, up to
    `backoff_cap`; a connection that lasted `backoff_cap` ends the row.
    """

    address: Address
    client_id: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    keep_alive: int = 30
    receive_max: int = 1000
    max_packet_size: int = 1_048_576
    session_expiry: int = 14 * 24 * 3600
    backoff_base: float = 0.25
    backoff_cap: float = 30.0
    timeout: float = 10.0

    def connect_settings(self) -> ConnectSettings:
        """Return what CONNECT says for this session, which is resumed and never cleaned."""
        return ConnectSettings(
            client_id=self.client_id,
            username=self.username,
            password=self.password,
            clean_start=False,
            session_expiry=self.session_expiry,
            keep_alive=self.keep_alive,
            receive_max=self.receive_max,
            max_packet_size=self.max_packet_size,
            tls=self.tls,
            timeout=self.timeout,
        )


@functools.cache
def default_tls() -> ssl.SSLContext:
    """Return a client context with the system's certificates, read once."""
    return ssl.create_default_context()


def explain(address: Address, error: ConnectError | OSError, timeout: float) -> ConnectError:
    """Return what to raise for `error`, which came up before the CONNACK of `address`."""
    where = f"MQTT server at {address}"
    if isinstance(error, ConnectError):
        return type(error)(f"{where}: {error}")
    if isinstance(error, TimeoutError):
        return ConnectTimeoutError(f"{where} did not answer within {timeout:g} s")
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectTLSError(f"{where}: its certificate is not valid: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        return ConnectTLSError(f"{where}: TLS failed: {error.reason or error}")
    return ConnectError(f"{where} cannot be reached: {error}")
