"""How a server's process begins: never as root, and with no right of root that it does not need."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from broker.embedded import accounts
from broker.embedded.accounts import (
    Account,
    EmbeddedServerError,
    can_walk,
    launcher,
    unprivileged_account,
)

STRANGER = Account("stranger", 64999, 64999)


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A directory that only its owner may enter."""
    directory = tmp_path / "closed"
    directory.mkdir(mode=0o700)
    return directory


def test_an_ordinary_user_runs_servers_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only root has somebody else to become."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert unprivileged_account("mosquitto") is None


def test_under_root_there_is_always_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """An account that the machine lacks is passed over; one with root's number is never taken."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    found = unprivileged_account("no-such-account", "root")
    assert found is not None
    assert found.name == "nobody"
    assert found.uid != 0


def test_who_may_walk_is_read_from_every_directory_above(closed: Path) -> None:
    """One closed directory above is enough to be kept out; its owner is not."""
    inside = closed / "deep" / "down"
    assert not can_walk(inside, STRANGER)
    owner = closed.stat()
    assert can_walk(Path("/usr/bin"), STRANGER)
    assert accounts._may_enter(closed, Account("owner", owner.st_uid, owner.st_gid))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="rights as Linux has them")
def test_a_right_to_walk_is_given_only_where_it_is_needed(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside becoming the account, the only right that may be left is the one to walk."""
    monkeypatch.setattr(accounts, "_speaks_our_options", lambda _: True)
    monkeypatch.setattr(accounts, "_right_to_walk", lambda *_: "dac_read_search")
    open_words = launcher(STRANGER, reach=[Path("/usr/bin")], death=signal.SIGTERM)
    assert {"--reuid=64999", "--regid=64999", "--clear-groups", "--inh-caps=-all"} < set(open_words)
    assert not any(word.startswith("--ambient") for word in open_words)
    closed_words = launcher(STRANGER, reach=[closed], death=signal.SIGTERM)
    assert "--ambient-caps=+dac_read_search" in closed_words


def test_without_the_means_to_drop_roots_rights_nothing_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server is rather not started than started as root."""
    monkeypatch.setenv("PATH", "")
    assert launcher(None, reach=[], death=signal.SIGTERM) == []
    with pytest.raises(EmbeddedServerError, match="setpriv"):
        launcher(STRANGER, reach=[], death=signal.SIGTERM)
