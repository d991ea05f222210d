"""The data directory of `up`: one owner at a time, and secrets that stay."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker.cli.callers import Where, settings_at
from broker.embedded.directory import DirectoryTakenError, Secrets, running_up, taken, tell
from broker.outside import sealer_for
from broker.sealing import KeyRing
from broker.secret_keys import new_key


def test_a_directory_has_one_owner(tmp_path: Path) -> None:
    """A second one is told who has it; afterwards it is free again."""
    with taken(tmp_path / "data"):
        second = taken(tmp_path / "data")
        with pytest.raises(DirectoryTakenError, match=f"process {os.getpid()} since"):
            second.__enter__()
    with taken(tmp_path / "data"):
        pass


def test_what_runs_is_found_only_while_it_runs(tmp_path: Path) -> None:
    """up.json is believed as long as its directory is taken, and is gone afterwards."""
    assert running_up(tmp_path) is None
    with taken(tmp_path):
        assert running_up(tmp_path) is None, "not ready yet"
        tell(tmp_path, {"mqtt": "mqtt://127.0.0.1:1"})
        assert running_up(tmp_path) == {"mqtt": "mqtt://127.0.0.1:1"}
    assert running_up(tmp_path) is None
    assert not (tmp_path / "up.json").exists()


def test_a_leftover_of_a_killed_process_is_not_believed(tmp_path: Path) -> None:
    """Its up.json lies there, but nobody holds the lock."""
    (tmp_path / "up.lock").write_text("process 1 since long ago")
    tell(tmp_path, {"mqtt": "mqtt://127.0.0.1:1"})
    assert running_up(tmp_path) is None


def test_secrets_are_made_once_and_kept(tmp_path: Path) -> None:
    """What was made is the same for the next process, in a file for the owner alone."""
    made = Secrets(tmp_path).made("PASSWORD")
    kept = Secrets(tmp_path)
    kept.keep("TOKEN", "a=b")
    again = Secrets(tmp_path)
    assert (again.get("PASSWORD"), again.get("TOKEN"), again.get("OTHER")) == (made, "a=b", None)
    assert (tmp_path / "secrets.env").stat().st_mode & 0o777 == 0o600
    assert len(made) >= 43


def test_commands_on_an_ups_database_seal_with_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory's own key, which may have another in front; the environment's, where it names one."""
    for name in [one for one in os.environ if one.startswith("JOBBROKER_")]:
        monkeypatch.delenv(name)
    key = Secrets(tmp_path).made("SECRET_KEY")
    of_up = Where(None, None, None, "default", tmp_path)
    assert sealer_for(settings_at(of_up)).key_id == KeyRing.parse(key).key_id
    newer = new_key()
    Secrets(tmp_path).keep("SECRET_KEY", f"{newer},{key}")
    assert sealer_for(settings_at(of_up)).key_id == KeyRing.parse(newer).key_id
    elsewhere = Where(None, None, "postgresql://a:b@db/jobs", "default", tmp_path)
    assert settings_at(elsewhere).secret_key is None
    monkeypatch.setenv("JOBBROKER_SECRET_KEY", key)
    assert sealer_for(settings_at(of_up)).key_id == KeyRing.parse(key).key_id
