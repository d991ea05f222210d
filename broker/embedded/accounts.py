"""Which operating system account a server runs as, and how its process begins.

PostgreSQL refuses to run as root, and nothing that listens should. When this process is root its
children get an account without rights; otherwise they run as who we are.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# Capability numbers of capabilities(7): enough to walk through a directory like /root, mode 0700.
_WALK_ANYWHERE = {"dac_read_search": 2, "dac_override": 1}


class EmbeddedServerError(RuntimeError):
    """A server run as a child is missing, too old, or did not start; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """The operating system's user and group that a child runs as."""

    name: str
    uid: int
    gid: int


def unprivileged_account(*names: str) -> Account | None:
    """Return the first account of these names, or `nobody`, for a child of root.

    None when we are not root: children then run as who we are.
    """
    if os.geteuid() != 0:
        return None
    for name in (*names, "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedServerError("running as root, and there is no account `nobody` to run servers as")


def launcher(account: Account | None, *, reach: Iterable[Path], death: signal.Signals) -> list[str]:
    """Return the words to put before a server's command line, for its account and its end.

    The server runs as `account`, is sent `death` when this process is killed (Linux), and can reach
    the directories of `reach` also when they lie below one that only root may enter: it is then
    given the right to walk and read, and nothing more of root.
    Raises EmbeddedServerError when that account cannot be had.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None or not _speaks_our_options(setpriv):
        return _without_setpriv(account)
    words = [setpriv, "--pdeathsig", death.name.removeprefix("SIG")]
    if account is not None:
        words += [f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
        blocked = [path for path in reach if not can_walk(path, account)]
        rights = f"+{_right_to_walk(blocked[0], account)}" if blocked else ""
        words += [f"--inh-caps=-all{rights and ',' + rights}"]
        words += [f"--ambient-caps={rights}"] if rights else []
    return [*words, "--"]


def _without_setpriv(account: Account | None) -> list[str]:
    if account is None:
        return []
    raise EmbeddedServerError(
        "running as root needs `setpriv` (util-linux) to start servers without its rights:"
        " install it, or run as an ordinary user"
    )


@cache
def _speaks_our_options(setpriv: str) -> bool:
    answer = subprocess.run([setpriv, "--help"], capture_output=True, text=True, check=False)
    return all(word in answer.stdout for word in ("--pdeathsig", "--ambient-caps"))


def can_walk(path: Path, account: Account) -> bool:
    """Tell whether `account` may enter a directory and all those above it."""
    return all(_may_enter(each, account) for each in (path, *path.resolve().parents))


def _may_enter(directory: Path, account: Account) -> bool:
    try:
        status = directory.stat()
    except FileNotFoundError:
        return True
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _right_to_walk(path: Path, account: Account) -> str:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    held = int(line.split()[1], 16)
    for name, number in _WALK_ANYWHERE.items():
        if held >> number & 1:
            return name
    raise EmbeddedServerError(
        f"{path} cannot be reached by the account {account.name}, which servers run as under root:"
        " choose a directory that others may enter, or run as an ordinary user"
    )
