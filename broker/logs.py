"""How the process logs: one line an event on stderr, for people or as JSON, and no secret ever."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Any, Final

import structlog

HIDDEN: Final = "[hidden]"
# Whole words of a field's name; `clientToken` is no secret and stays.
_SECRET_NAME: Final = re.compile(
    r"(^|_)(password|passwd|secret|token|credentials?|private_key|url|dsn)($|_)", re.IGNORECASE
)
_NOT_SECRET: Final = frozenset({"client_token", "secret_name"})
_URL_PASSWORD: Final = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s/]*@", re.IGNORECASE)

Event = MutableMapping[str, Any]


class LineQuota:
    """At most so many lines a second of one kind: what a client does wrong in a loop must not fill the disk."""

    def __init__(self, most: int = 50, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._second = -1
        self._written = 0
        self._left_out = 0

    def allow(self) -> int | None:
        """How many lines were left out since the last one that was written; None when this one must be, too."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._written = second, 0
        if self._written >= self._most:
            self._left_out += 1
            return None
        self._written += 1
        left_out, self._left_out = self._left_out, 0
        return left_out


def set_up_logs(log_format: str = "console", log_level: str = "info") -> None:
    """Set up structlog and the standard library's logging for the whole process.

    log_format: `console` or `json`; log_level: debug, info, warning, error. Call once at start.
    """
    level = logging.getLevelNamesMapping()[log_level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        hide_secrets,
    ]
    rendered = _renderers(log_format)
    structlog.configure(
        processors=[*shared, *rendered],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)


def _renderers(log_format: str) -> list[structlog.typing.Processor]:
    if log_format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    # The prettier traceback that rich gives shows local variables, and those hold secrets.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]


def hide_secrets(_logger: object, _method: str, event: Event) -> Event:
    """Replace what fields with a secret's name hold, and the password inside any URL."""
    for name, value in event.items():
        if _SECRET_NAME.search(name) and name not in _NOT_SECRET:
            event[name] = HIDDEN
        elif isinstance(value, str) and "://" in value:
            event[name] = _URL_PASSWORD.sub(rf"\1{HIDDEN}@", value)
    return event
