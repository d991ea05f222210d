"""MQTT server URLs."""

from __future__ import annotations

import contextlib
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.mqtt.address import Address, ServerUrl, parse_url

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://localhost", ServerUrl(Address("localhost", 1883))),
        ("mqtts://localhost", ServerUrl(Address("localhost", 8883, tls=True))),
        ("MQTT://h:1/", ServerUrl(Address("h", 1))),
        ("mqtt://u:p@h:65535", ServerUrl(Address("h", 65535), "u", "p")),
        ("mqtt://u@h", ServerUrl(Address("h", 1883), "u", None)),
        ("mqtt://u:@h", ServerUrl(Address("h", 1883), "u", "")),
        ("mqtt://@jobbroker:a:b/c?d@h", ServerUrl(Address("h", 1883), "@jobbroker", "a:b/c?d")),
        ("mqtt://%40x:%C3%A9%25@h", ServerUrl(Address("h", 1883), "@x", "é%")),
        ("mqtt://[::1]:1884", ServerUrl(Address("::1", 1884))),
        (
            "mqtts://u:p@[fe80::1%eth0]",
            ServerUrl(Address("fe80::1%eth0", 8883, tls=True), "u", "p"),
        ),
    ],
)
def test_url_is_read(url: str, expected: ServerUrl) -> None:
    """Scheme, credentials, host and port are taken apart, with the usual ports as defaults."""
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("", "scheme"),
        ("localhost:1883", "scheme"),
        ("http://h", "scheme"),
        ("mqtt://", "host"),
        ("mqtt://u:p@", "host"),
        ("mqtt://h/path", "host"),
        ("mqtt://h h", "host"),
        ("mqtt://[::1", "host"),
        ("mqtt://[localhost]", "host"),
        ("mqtt://[::1]x", "after the host"),
        ("mqtt://h:", "port"),
        ("mqtt://h:0", "port"),
        ("mqtt://h:65536", "port"),
        ("mqtt://h:\u0661", "port"),
        ("mqtt://h:1883/x", "port"),
        ("mqtt://:secret@h", "username"),
        ("mqtt://%zz:secret@h", "username"),
        ("mqtt://u:secret%@h", "password"),
        ("mqtt://u:secret%FF@h", "password"),
        ("mqtt://u:secret@h:99999", "port"),
        ("mqtt://u:secret", "port"),
        ("mqtt://u:secret:h:1883", "port"),
    ],
)
def test_wrong_part_is_named(url: str, part: str) -> None:
    """What is wrong is named, and the password never shows."""
    with pytest.raises(ValueError, match=part) as caught:
        parse_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["a" * 64, "a..b", "\udcff", "."])
def test_a_host_that_dns_cannot_hold_is_refused(host: str) -> None:
    """Taken, it would end the link with UnicodeError, which is no failed attempt (found by fuzzing)."""
    with pytest.raises(ValueError, match="can be no name in DNS") as caught:
        parse_url(f"mqtt://{host}:1883")
    assert not isinstance(caught.value, UnicodeError)


@given(username=_TEXT, password=st.none() | st.text(st.characters(exclude_categories=["Cs"])))
def test_any_credentials_survive_encoding(username: str, password: str | None) -> None:
    """Percent-encoded credentials come back as they were, whatever they hold."""
    secret = "" if password is None else ":" + quote(password, safe="")
    parsed = parse_url(f"mqtt://{quote(username, safe='')}{secret}@127.0.0.1:1")
    assert (parsed.username, parsed.password) == (username, password)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes the parser fail in any way but ValueError."""
    for url in (text, f"mqtt://{text}"):
        with contextlib.suppress(ValueError):
            assert parse_url(url).address.host


def test_password_is_not_shown() -> None:
    """Neither repr nor the address's text shows credentials."""
    parsed = parse_url("mqtts://u:secret@[::1]:1")
    assert "secret" not in repr(parsed)
    assert str(parsed.address) == "[::1]:1"
