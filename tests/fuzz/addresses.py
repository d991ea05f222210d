"""Settings: URLs of the MQTT server and of PostgreSQL, numbers and words, as somebody typed them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest import mock

from hypothesis import strategies as st

from broker.local_settings import SettingsError
from broker.mqtt.address import parse_url
from broker.mqtt.handshake import ConnectSettings
from broker.settings import Settings, load_settings
from tests.fuzz import odd
from tests.fuzz.oracle import ACCEPTED, check_message

Example = tuple[str, str]

_SECRET: Final = "Geheim7"
_URLS: Final = (
    f"mqtt://ann:{_SECRET}@localhost:1883",
    f"mqtts://ann:{_SECRET}@[fe80::1%eth0]:8883/",
    f"MQTT://ann:{_SECRET}@host",
    f"mqtt://a%00b:{_SECRET}@{'a' * 64}",
    f"mqtt://a:{_SECRET}@a..b:1",
    f"mqtt://a:{_SECRET}@b\u00fccher.example:65535",
    f"mqtt://a:{_SECRET}@\u0661:65536",
    f"mqtt://a:{_SECRET}%zz@h",
    f"postgresql://ann:{_SECRET}@localhost:5432/jobs",
    f"postgres://ann:{_SECRET}@[::1/jobs",
    f"http://ann:{_SECRET}@localhost",
)
# What an environment cannot hold: bytes that are no UTF-8 come as U+DC80 to U+DCFF.
_UNSAYABLE: Final = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
_NAMES: Final = (
    *("DATABASE_URL", "MIGRATION_URL", "MQTT_URL", "OPERATOR_URL", "MQTT_TOPICS", "POOL_SIZE"),
    *("LANES", "BATCH_MOST", "LOG_LEVEL", "LOG_FORMAT", "MQTT_CA_FILE", "DATA_DIR", "NO_SUCH"),
)
_PIECES: Final = (
    "\u2100",
    "@",
    ":",
    "/",
    "[",
    "]",
    "%",
    "://",
    "?",
    "#",
    "%00",
    "%ff",
    "\n",
    "\udc80",
    "a" * 70,
)


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """`url` or the name of a setting, and its text."""
    text = draw(_TEXTS)
    for _ in range(draw(_EDITS)):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(_PIECE) + text[at + draw(_EDITS) :]
    return draw(_WHAT), text


_TEXTS: Final = st.one_of(st.sampled_from(_URLS), st.sampled_from(_URLS), odd.texts())
_PIECE: Final = st.one_of(st.sampled_from(_PIECES), odd.texts())
_EDITS: Final = st.integers(0, 3)
_WHAT: Final = st.sampled_from(("url", "url", *_NAMES))


def check(example: Example) -> list[str]:
    """A URL that is taken can be connected to; a setting that is not is named, without its secret."""
    what, text = example
    return [_check_url(text) if what == "url" else _check_setting(what, text)]


def _check_url(text: str) -> str:
    try:
        url = parse_url(text)
    except ValueError as error:
        return _check_refusal(str(error), text)
    assert 1 <= url.address.port <= 65_535
    # What the resolver makes of it: a name it cannot encode is an error of another kind than an unknown host.
    url.address.host.encode("idna")
    assert _SECRET not in repr(url) or _SECRET in (url.username or "") + url.address.host
    try:
        ConnectSettings("id", username=url.username, password=url.password).packet()
    except ValueError:
        return "not for MQTT"  # told before anything is sent: U+0000, or too long
    return ACCEPTED


def _check_refusal(told: str, text: str) -> str:
    check_message(told)
    # As long as the password stands where passwords stand, in front of the last @.
    assert _SECRET not in told or _SECRET not in text.rpartition("@")[0], told
    return "refused"


def _check_setting(name: str, text: str) -> str:
    given = {
        "JOBBROKER_DATABASE_URL": "postgresql://localhost/x",
        "JOBBROKER_MQTT_URL": "mqtt://localhost",
        f"JOBBROKER_{name}": _UNSAYABLE.sub("", text),
    }
    with _environment(given):
        try:
            settings = load_settings()
        except SettingsError as error:
            told = str(error)
            assert not name.endswith("_URL") or "[" in text or _SECRET not in told, told
            assert told.startswith("JOBBROKER_")
            for line in told.split("\n"):
                check_message(line)
            return "refused"
    assert isinstance(settings, Settings)
    assert settings.mqtt.address.host
    return ACCEPTED


@contextmanager
def _environment(given: dict[str, str]) -> Iterator[None]:
    kept = {name: one for name, one in os.environ.items() if not name.startswith("JOBBROKER_")}
    with mock.patch.dict(os.environ, {**kept, **given}, clear=True):
        yield
