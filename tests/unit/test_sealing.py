"""Secrets at rest: what opens where, and that nothing is told of what does not."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import schema
from broker.sealing import KeyRing
from broker.secret_keys import new_key, parse_keys
from schema.errors import Rejected
from schema.secrets import EMPTY, SEALED_TABLES, NoSealer, Place, SecretStatus

OLD, NEW = (base64.urlsafe_b64encode(bytes([n] * 32)).rstrip(b"=").decode() for n in (111, 222))
PLACE = Place("default", "ttn_connections", ("o1",), "main_key_sealed")


@given(st.text())
def test_a_text_comes_back_from_its_place(text: str) -> None:
    """Any text, the empty one too, opens as it was; sealed twice it looks different, and shows nothing of itself."""
    ring = KeyRing.parse(NEW)
    sealed, again = ring.seal(text, PLACE), ring.seal(text, PLACE)
    assert sealed != again
    opened = ring.open(sealed, PLACE)
    assert (opened.status, opened.value) == (SecretStatus.DECRYPTED, text)
    assert len(text) < 4 or text.encode() not in sealed


@pytest.mark.parametrize(
    "other",
    [
        PLACE._replace(tenant_id="acme"),
        PLACE._replace(table="ttn_batch_lines"),
        PLACE._replace(row=("o2",)),
        PLACE._replace(row=("o1", "")),
        PLACE._replace(column="app_api_key_sealed"),
    ],
)
def test_a_value_opens_nowhere_else(other: Place) -> None:
    """Copied to another tenant, table, row or column it is failed, and not empty."""
    ring = KeyRing.parse(NEW)
    opened = ring.open(ring.seal("NNSXS.x", PLACE), other)
    assert (opened.status, opened.value) == (SecretStatus.FAILED, None)


@given(st.data())
def test_an_altered_value_is_failed(data: st.DataObject) -> None:
    """Whatever byte is changed or cut off: it fails, with a reason, and nothing is raised."""
    ring = KeyRing.parse(NEW)
    sealed = bytearray(ring.seal("of the fleet", PLACE))
    at = data.draw(st.integers(0, len(sealed) - 1))
    if data.draw(st.booleans()):
        sealed[at] ^= data.draw(st.integers(1, 255))
    else:
        del sealed[at:]
    opened = ring.open(bytes(sealed), PLACE)
    assert opened.status is SecretStatus.FAILED
    assert opened.problem


def test_the_first_key_seals_and_all_open() -> None:
    """With the new key in front the old values open; without the old key they are failed and named by its id."""
    old, both, new = KeyRing.parse(OLD), KeyRing.parse(f"{NEW}, {OLD}"), KeyRing.parse(NEW)
    sealed = old.seal("x", PLACE)
    assert both.open(sealed, PLACE).value == "x"
    assert new.open(both.seal("y", PLACE), PLACE).value == "y"
    failed = new.open(sealed, PLACE)
    assert failed.status is SecretStatus.FAILED
    assert old.key_id.hex() in failed.problem


def test_nothing_is_empty_only_where_nothing_is() -> None:
    """NULL is empty; with no key at all, what is stored is failed, and storing is refused with what to do."""
    assert KeyRing.parse(NEW).open(None, PLACE) is EMPTY
    assert NoSealer().open(None, PLACE) is EMPTY
    assert NoSealer().open(b"x", PLACE).status is SecretStatus.FAILED
    with pytest.raises(Rejected, match="JOBBROKER_SECRET_KEY is not set; `jobbroker secrets new"):
        NoSealer().seal("x", PLACE)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("short", "key 1: "),
        (f"{NEW},", "key 2: has 0 bytes"),
        (f"{NEW},{NEW}", "the same key twice"),
        (NEW[:-1], "key 1: "),
        ("ü" * 43, "key 1: "),
        (f"{NEW}!", "key 1: "),
    ],
)
def test_a_wrong_key_is_told_by_its_number(text: str, problem: str) -> None:
    """And never shown."""
    with pytest.raises(ValueError, match=re.escape(problem)) as told:
        parse_keys(text)
    assert text[:8] not in str(told.value)


def test_a_fresh_key_is_one() -> None:
    """32 bytes, another one each time."""
    keys = parse_keys(f"{new_key()},{new_key()}")
    assert [len(key) for key in keys] == [32, 32]


def test_no_repr_shows_a_secret() -> None:
    """As a log line may have it."""
    ring = KeyRing.parse(NEW)
    opened = ring.open(ring.seal("of the fleet", PLACE), PLACE)
    assert "of the fleet" not in repr(opened)


def test_rotation_knows_every_sealed_column() -> None:
    """Each column of the database that is sealed is among those that rotation goes through, and no other."""
    text = (Path(schema.__file__).parent / "schema.sql").read_text("utf-8")
    found = {
        (table, column)
        for table, body in re.findall(r"CREATE TABLE (\w+) \((.*?)\n\);", text, re.DOTALL)
        for column in re.findall(r"^    (\w+_sealed)\s", body, re.MULTILINE)
    }
    assert found == {(one.table, column) for one in SEALED_TABLES for column in one.columns}
