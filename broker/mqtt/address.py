"""MQTT server URLs: `mqtt://user:password@host:port`, and `mqtts://` for TLS."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

_DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}
_STRAY_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(r"[^\s/?#@:\[\]\x00-\x1f]{1,253}")
_PORT = re.compile("[0-9]{1,5}")
_LAST_PORT = 65535
_IPV6 = re.compile(r"[0-9A-Fa-f:.]{2,45}(%[\w.-]{1,32})?")


@dataclass(frozen=True, slots=True)
class Address:
    """Where an MQTT server listens, and whether TLS is spoken there."""

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        """Return `host:port`, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """An address and the credentials that came with it; the password never shows in a repr."""

    address: Address
    username: str | None = None
    password: str | None = field(default=None, repr=False)


def parse_url(url: str) -> ServerUrl:
    """Read an MQTT server URL.

    The port defaults to 1883 (mqtt) or 8883 (mqtts). User and password are percent-decoded as
    UTF-8 and end at the last `@`, so that characters forgotten to be encoded do no harm there.

    Raises ValueError naming the part that is wrong, never the password.
    """
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _DEFAULT_PORTS:
        raise ValueError("MQTT URL: scheme must be mqtt:// or mqtts://")
    userinfo, has_user, location = rest.rpartition("@")
    username, password = _credentials(userinfo) if has_user else (None, None)
    host, port = _location(location.removesuffix("/"))
    address = Address(host, port or _DEFAULT_PORTS[scheme], tls=scheme == "mqtts")
    return ServerUrl(address, username, password)


def _credentials(userinfo: str) -> tuple[str, str | None]:
    username, has_password, password = userinfo.partition(":")
    if not username:
        raise ValueError("MQTT URL: username is empty, yet there is an @")
    return _decoded("username", username), _decoded("password", password) if has_password else None


def _decoded(part: str, text: str) -> str:
    if _STRAY_PERCENT.search(text):
        raise ValueError(f"MQTT URL: {part} has a % without two hex digits; write % as %25")
    try:
        decoded = unquote(text, errors="strict")
        decoded.encode()
    except UnicodeError:
        raise ValueError(f"MQTT URL: {part} is not UTF-8") from None
    return decoded


def _location(location: str) -> tuple[str, int | None]:
    if location.startswith("["):
        host, closing, tail = location[1:].partition("]")
        if not closing or not _IPV6.fullmatch(host) or ":" not in host:
            raise ValueError(f"MQTT URL: host {location[:64]!r} is not an IPv6 address in brackets")
        if tail and not tail.startswith(":"):
            raise ValueError(f"MQTT URL: {tail[:64]!r} after the host; expected :port or the end")
        return host, _port(tail[1:]) if tail else None
    host, colon, port = location.partition(":")
    if not _HOST.fullmatch(host):
        raise ValueError(
            f"MQTT URL: host {host[:64]!r} must be a name or an address, with no path behind it"
        )
    try:
        # As the resolver does, whose UnicodeError would be no failed connection but the end.
        host.encode("idna")
    except UnicodeError:
        raise ValueError(f"MQTT URL: host {host[:64]!r} can be no name in DNS") from None
    return host, _port(port) if colon else None


def _port(text: str) -> int:
    if not _PORT.fullmatch(text):
        # Not shown: where the @ was forgotten, the password stands here.
        raise ValueError(f"MQTT URL: port must be a number from 1 to {_LAST_PORT}")
    if not 1 <= int(text) <= _LAST_PORT:
        raise ValueError(f"MQTT URL: port {text} must be a number from 1 to {_LAST_PORT}")
    return int(text)
