"""Where `up` listens for HTTP and for browsers: 8000 and 8080 as a rule, and the same again after a restart."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from broker.atomic import replace_file
from broker.embedded.ports import free_port, is_free

USUAL: Final = 8000
USUAL_CONSOLE: Final = 8080
_FILE: Final = "http.port"
_CONSOLE_FILE: Final = "console.port"


def choose_http_port(data_dir: Path, wanted: int | None) -> int:
    """The port that is wanted; else the one of last time, or 8000, or any, whichever is free first.

    wanted 0 leaves 8000 out. What was chosen is kept in the data directory.
    """
    return _choose(data_dir / _FILE, wanted, USUAL)


def choose_console_port(data_dir: Path, wanted: int | None) -> int:
    """As `choose_http_port`, for the console, with 8080."""
    return _choose(data_dir / _CONSOLE_FILE, wanted, USUAL_CONSOLE)


def _choose(file: Path, wanted: int | None, usual: int) -> int:
    if wanted:
        return wanted
    first = [usual] if wanted is None else []
    found = next((port for port in [*_kept(file), *first] if is_free(port)), None)
    chosen = free_port() if found is None else found
    replace_file(file, f"{chosen}\n".encode(), mode=0o644)
    return chosen


def _kept(file: Path) -> list[int]:
    with suppress(OSError, ValueError):
        return [int(file.read_text())]
    return []
