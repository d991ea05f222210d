"""Mosquitto's password and ACL files as text, and names that must never break them."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.access import (
    AccessSnapshot,
    Claim,
    Principal,
    TopicsMode,
    later_claims,
    mosquitto_hash,
    render_acl,
    render_password_file,
    settle_names,
    verify_mosquitto_hash,
)
from schema.topics import DEVICE_FILTERS, OPERATOR_FILTERS

SALT = bytes(range(12))
HASH = mosquitto_hash("token", SALT)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAMES = st.from_regex(re.compile(r"[a-zA-Z0-9:_-]{1,128}"), fullmatch=True)


def thing(name: str, tenant: str = "default") -> Principal:
    """Return a thing with a token."""
    return Principal(tenant, name, "thing", mosquitto_hash=HASH)


def operator(name: str, tenant: str = "default") -> Principal:
    """Return an operator with a token."""
    return Principal(tenant, name, "operator", role="viewer", mosquitto_hash=HASH)


def rules(acl: str, user: str) -> list[str]:
    """Return the rules of one user's block."""
    block = acl.split(f"user {user}\n")[1]
    return block.split("\n\n")[0].splitlines()


def test_hash_is_the_one_mosquitto_passwd_writes(tmp_path: Path) -> None:
    """A line made by mosquitto_passwd verifies here, and is made again from its own salt."""
    program = shutil.which("mosquitto_passwd")
    if program is None:
        pytest.skip("mosquitto_passwd is not installed")
    file = tmp_path / "passwd"
    file.touch(mode=0o600)
    subprocess.run([program, "-b", str(file), "dev1", "s3cret"], check=True, capture_output=True)
    stored = file.read_text().strip().partition(":")[2]
    assert verify_mosquitto_hash("s3cret", stored)
    assert not verify_mosquitto_hash("s3cre", stored)
    assert not verify_mosquitto_hash("s3cret", "$6$AAAA$AAAA")


def test_hash_depends_on_token_and_salt() -> None:
    """Equal tokens under different salts look different."""
    assert re.fullmatch(r"\$7\$101\$[\w+/]{16}\$[\w+/]{86}==", HASH)
    assert mosquitto_hash("token", bytes(12)) != HASH
    assert mosquitto_hash("other", SALT) != HASH


def test_password_file_has_the_broker_and_token_holders_by_name() -> None:
    """Things without a token have no line; the order does not depend on the input's."""
    certificate_only = Principal("default", "cert", "thing")
    text = render_password_file([thing("b"), certificate_only, operator("a")], HASH)
    assert [line.split(":")[0] for line in text.splitlines()] == ["@jobbroker", "a", "b"]


def test_tokens_of_further_tenants_are_not_for_mosquitto() -> None:
    """Another tenant's token would open the default tenant's listener, so it has no line."""
    assert "dev2" not in render_password_file([thing("dev1"), thing("dev2", "acme")], HASH)


@given(NAMES.filter(lambda name: ":" not in name))
def test_any_legal_name_is_one_line(name: str) -> None:
    """Whatever a name is made of, it adds one password line and never a wildcard."""
    assert len(render_password_file([thing(name)], HASH).splitlines()) == 2
    block = rules(render_acl(["default"], [operator(name)]), name)
    without = rules(render_acl(["default"], [operator("x")]), "x")
    assert [line.replace(f"/{name}/", "/x/") for line in block] == without


@pytest.mark.parametrize(
    "name", ["a\nb", "a b", "+", "a/b", "#", "%u", "", "a\r", "ä", "@jobbroker", "a\x00", "x" * 129]
)
def test_illegal_names_are_refused(name: str) -> None:
    """A name that could add a line, a level or a wildcard is refused by both files."""
    with pytest.raises(ValueError, match="does not match"):
        render_acl(["default"], [operator(name)])
    with pytest.raises(ValueError, match="does not match"):
        render_password_file([thing(name)], HASH)


@given(st.text(min_size=1, max_size=20))
def test_no_text_can_add_a_line(text: str) -> None:
    """Any text at all is either refused or stays inside its own line and topic level."""
    count = len(render_acl(["default"], [operator("x")]).splitlines())
    try:
        acl = render_acl(["default"], [operator(text)])
    except ValueError:
        return
    assert len(acl.splitlines()) == count
    assert not set(text) & set("+#/% \n")


def test_colon_names_need_a_certificate() -> None:
    """A colon ends the name in a password file, so such a thing has rules but no token line."""
    with pytest.raises(ValueError, match="certificate"):
        render_password_file([thing("urn:dev:1")], HASH)
    assert "user urn:op\n" in render_acl(["default"], [operator("urn:op")])


@pytest.mark.parametrize("stored", ["", "$7$101$x", f"{HASH}\nroot:{HASH}", "plain", f"{HASH}:x"])
def test_broken_hashes_are_refused(stored: str) -> None:
    """A hash that is none would let a line be read as something else."""
    with pytest.raises(ValueError, match="hash"):
        render_password_file([], stored)


@pytest.mark.parametrize("tenant", ["a/b", "+", "", "a\nb", "x" * 65, "a:b"])
def test_illegal_tenants_are_refused(tenant: str) -> None:
    """A tenant id stands in front of each topic; one that is no single level is refused."""
    with pytest.raises(ValueError, match="tenant"):
        render_acl([tenant], [])


def test_a_thing_writes_exactly_its_four_requests() -> None:
    """Nothing but get, start-next, +/get and +/update may be published under a thing's name."""
    acl = render_acl(["default"], [])
    writes = [line.split()[-1] for line in acl.splitlines() if line.startswith("pattern write")]
    own = "default/$aws/things/%u/jobs/"
    assert writes == [own + "get", own + "start-next", own + "+/get", own + "+/update"]


def test_only_the_broker_writes_what_others_believe() -> None:
    """No pattern and no operator's rule grants publishing an answer, a notification or an event."""
    acl = render_acl(["default", "acme"], [operator("ann")])
    granted = [line for line in acl.splitlines() if " write " in line]
    others = [line for line in granted if line not in rules(acl, "@jobbroker")]
    assert not [line for line in others if re.search(r"accepted|rejected|notify|events|#", line)]


def test_an_operator_is_not_a_thing() -> None:
    """The patterns would let an operator speak as the thing of its name; its block denies that."""
    block = rules(render_acl(["default"], [operator("ann")]), "ann")
    assert "topic deny default/$aws/things/ann/#" in block


def test_each_tenant_has_patterns_of_its_own() -> None:
    """Two tenants double the patterns, and an operator's block names its own tenant only."""
    acl = render_acl(["acme", "default"], [operator("ann", "acme")])
    assert acl.count("pattern ") == 2 * render_acl(["default"], []).count("pattern ")
    assert not [line for line in rules(acl, "ann") if "default/" in line]


def test_plain_mode_has_no_tenant_in_front() -> None:
    """With plain topics the rules begin with $aws and operators, for the default tenant alone."""
    acl = render_acl(["default", "acme"], [operator("ann"), operator("bob", "acme")], "plain")
    assert "pattern write $aws/things/%u/jobs/get\n" in acl
    assert "topic read operators/ann/#\n" in acl
    assert "bob" not in acl
    assert "default/" not in acl


def test_first_tenant_to_hold_a_name_keeps_it() -> None:
    """Two tenants' equal names would share a session; the later one's credentials are refused."""
    snapshot = AccessSnapshot(
        tenants=("acme", "default"),
        principals=(thing("dev1"), operator("dev1", "acme")),
        claims=(
            Claim("acme", "dev1", NOON + timedelta(seconds=1), "0a"),
            Claim("default", "dev1", NOON, None),
            Claim("acme", "dev2", NOON, "0b"),
        ),
    )
    assert [claim.serial for claim in later_claims(snapshot.claims)] == ["0a"]
    settled = settle_names(snapshot)
    assert settled.principals == (thing("dev1"),)
    assert [(one.tenant_id, one.serial) for one in settled.revoked] == [("acme", "0a")]


def test_the_broker_may_read_all_it_subscribes_to() -> None:
    """Each request filter of the broker is one of its read rules, in both modes of topics."""
    modes: dict[TopicsMode, str] = {"mounted": "+/", "plain": ""}
    for mode, prefix in modes.items():
        block = rules(render_acl(["default"], [], mode), "@jobbroker")
        for one in (*DEVICE_FILTERS, *OPERATOR_FILTERS):
            assert f"topic read {prefix}{one}" in block
