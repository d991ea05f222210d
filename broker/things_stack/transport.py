"""One call to The Things Stack: to allowed hosts alone, bounded in number, time and size, again where that helps."""

from __future__ import annotations

import asyncio
import functools
import json
import random
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlencode

import httpx
import stamina

from schema.things_stack_hosts import HostNotAllowedError, StackHosts
from schema.things_stack_outcomes import (
    BROKEN,
    Outcome,
    may_repeat,
    parse_error,
    rate_wait,
    scrub,
    snippet_of,
)

_LIMITED: Final = 429
_ANSWER_BYTES: Final = 16 * 1024 * 1024
_COUNT_DIGITS: Final = 18  # Python refuses to read a number of more than 4300
# A call that never left: nothing can have happened at the server.
_UNSENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)

Query = Mapping[str, str | int | list[str]]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often to ask, in seconds and attempts (reference/the-things-stack.md 5.3).

    attempts: of one call in all; broken: of one that gets 500 or 502. least_rate_wait and jitter are for a 429, whose
    header may say 0; longest_wait bounds what it may ask for.
    """

    timeout: float = 20.0
    attempts: int = 6
    broken: int = 3
    first_wait: float = 0.5
    longest_wait: float = 60.0
    least_rate_wait: float = 1.0
    jitter: float = 1.0


class _Again(Exception):
    """A call whose end may be another the next time."""

    def __init__(self, outcome: Outcome, wait: float | None) -> None:
        super().__init__(outcome.endpoint)
        self.outcome = outcome
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Call:
    """One request. repeatable: doing it twice does no harm. private: nothing of its answer may be shown."""

    method: str
    host: str
    path: str
    query: Query | None = None
    body: Mapping[str, object] | None = field(default=None, repr=False)
    repeatable: bool = True
    private: bool = False

    @property
    def target(self) -> str:
        """Path and query below the host."""
        query = urlencode(self.query, doseq=True) if self.query else ""
        return f"/api/v3{self.path}" + (f"?{query}" if query else "")

    @property
    def endpoint(self) -> str:
        """How a step names it: method, host and path."""
        return f"{self.method} {self.host}{self.target}"


class Transport:
    """Calls with one key, at most `concurrency` at once. An async context manager."""

    def __init__(
        self,
        api_key: str,
        allowed: StackHosts,
        *,
        patience: Patience | None = None,
        concurrency: int = 4,
        verify: bool = True,
    ) -> None:
        """Take the key and whom it may be shown; verify=False is for tests with certificates of their own."""
        self._headers = {"Authorization": f"Bearer {api_key}", "Accept": "application/json"}
        self._secrets = (api_key, *api_key.split(".")[2:])
        self._allowed = allowed
        self._patience = patience or Patience()
        self._slots = asyncio.Semaphore(concurrency)
        # A redirect could lead the key elsewhere, and so could a proxy that the environment names.
        self._http = httpx.AsyncClient(
            timeout=self._patience.timeout,
            follow_redirects=False,
            trust_env=False,
            verify=_trusted() if verify else False,
            limits=httpx.Limits(max_connections=2 * concurrency),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def call(self, call: Call) -> Outcome:
        """Carry one call out, again where that helps and does no harm. Whatever happens is an Outcome."""
        try:
            url = self._allowed.base_url(call.host) + call.target
        except HostNotAllowedError as error:
            return Outcome(call.endpoint, failure=str(error), unsent=True, snippet=str(error)[:400])
        attempts = 0
        patience = self._patience
        async with self._slots:
            began = time.monotonic()
            try:
                async for attempt in stamina.retry_context(
                    on=_wait_of,
                    attempts=patience.attempts,
                    timeout=None,
                    wait_initial=patience.first_wait,
                    wait_max=patience.longest_wait,
                    wait_jitter=patience.jitter,
                ):
                    attempts = attempt.num
                    with attempt:
                        outcome = await self._attempt(call, url, attempts)
            except _Again as last:
                outcome = last.outcome
            elapsed = time.monotonic() - began
        return replace(outcome, attempts=attempts, elapsed=elapsed)

    async def _attempt(self, call: Call, url: str, number: int) -> Outcome:
        outcome, wait = await self._once(call, url)
        broke = outcome.status in BROKEN and number >= self._patience.broken
        if not broke and may_repeat(outcome, repeatable=call.repeatable):
            raise _Again(outcome, wait)
        return outcome

    async def _once(self, call: Call, url: str) -> tuple[Outcome, float | None]:
        """One attempt's outcome, and how many seconds it asks to wait before the next (None: as usual)."""
        try:
            async with asyncio.timeout(2 * self._patience.timeout):
                answer, content = await self._exchange(call, url)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            reason = scrub(f"{type(error).__name__}: {error}", self._secrets)[:400]
            unsent = isinstance(error, _UNSENT)
            return Outcome(call.endpoint, failure=reason, unsent=unsent, snippet=reason), None
        wait = None
        if answer.status_code == _LIMITED:
            asked = max(rate_wait(answer.headers) - 1, 0) + self._patience.least_rate_wait
            jitter = random.uniform(0, self._patience.jitter)  # noqa: S311 - spreads callers, hides nothing
            wait = min(asked, self._patience.longest_wait) + jitter
        return self._read(call, answer, content), wait

    async def _exchange(self, call: Call, url: str) -> tuple[httpx.Response, bytes | None]:
        """The answer's head, and its body; None when that has more than 16 MiB."""
        content = bytearray()
        async with self._http.stream(
            call.method, url, headers=self._headers, json=call.body
        ) as answer:
            async for chunk in answer.aiter_bytes():
                content += chunk
                if len(content) > _ANSWER_BYTES:
                    return answer, None
        return answer, bytes(content)

    def _read(self, call: Call, answer: httpx.Response, content: bytes | None) -> Outcome:
        known = Outcome(call.endpoint, answer.status_code, total=_count(answer.headers))
        if content is None:
            failure = f"the answer has more than {_ANSWER_BYTES} bytes"
            return replace(known, failure=failure, snippet=failure)
        if known.ok:
            body = _object(content)
            if body is not None:
                return replace(known, body=body)
            return replace(
                known,
                failure="the answer is no JSON object",
                snippet=None if call.private else snippet_of(content, self._secrets),
            )
        error = parse_error(content)
        shown = error.name if call.private else snippet_of(content, self._secrets)
        return replace(known, error=error, snippet=shown or None)


@functools.cache
def _trusted() -> ssl.SSLContext:
    """Made once: reading all authorities takes longer than most calls."""
    return httpx.create_ssl_context(trust_env=False)


def _wait_of(error: Exception) -> bool | float:
    if not isinstance(error, _Again):
        return False
    return True if error.wait is None else error.wait


def _object(content: bytes) -> dict[str, object] | None:
    try:
        body = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _count(headers: Mapping[str, str]) -> int | None:
    text = headers.get("x-total-count", "")
    is_count = text.isascii() and text.isdecimal() and len(text) <= _COUNT_DIGITS
    return int(text) if is_count else None
