"""Where `up` listens for HTTP: 8000 as a rule, and the same again after a restart."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from broker.atomic import replace_file
from broker.embedded.ports import free_port, is_free

USUAL: Final = 8000
_FILE: Final = "http.port"


def choose_http_port(data_dir: Path, wanted: int | None) -> int:
    """The port that is wanted; else the one of last time, or 8000, or any, whichever is free first.

    wanted 0 leaves 8000 out. What was chosen is kept in the data directory.
    """
    if wanted:
        return wanted
    usual = [USUAL] if wanted is None else []
    found = next((port for port in [*_kept(data_dir), *usual] if is_free(port)), None)
    chosen = free_port() if found is None else found
    replace_file(data_dir / _FILE, f"{chosen}\n".encode(), mode=0o644)
    return chosen


def _kept(data_dir: Path) -> list[int]:
    with suppress(OSError, ValueError):
        return [int((data_dir / _FILE).read_text())]
    return []
