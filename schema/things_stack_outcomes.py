"""What an answer of The Things Stack means: gone, not permitted, to be asked again, or simply wrong.

Pure tables by the names of the server's errors (reference/the-things-stack.md 5 and 10). A status alone decides little:
a 404 may be a route that does not exist, a 403 an application that is gone, a 409 one to repeat or one that is final.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

SNIPPET_CHARS: Final = 400
_KEY: Final = re.compile(r"NNSXS\.[A-Z2-7.]*", re.IGNORECASE)
_BEARER: Final = re.compile(r"(?i)(bearer\s+)[^\s\"',;]+")
_HIDDEN: Final = "[key]"
# What an error's name and correlation id are made of. Both are written down as they are: what else stands there could
# be a key, or what no row takes.
_NAME: Final = re.compile(r"[a-z0-9_]{1,100}")
_CORRELATION: Final = re.compile(r"[0-9A-Za-z-]{1,100}")

_OK: Final = 200
_UNAUTHENTICATED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_LIMITED: Final = 429
_ABORTED: Final = 10  # gRPC's codes, which an error's body carries
_MISSING: Final = 5
# Waiting helps: the gateway's 499 and 504, an unavailable server, a load balancer between two servers.
_AWAY: Final = frozenset({499, 503, 504})
# The server broke; again helps at times, and is bounded.
BROKEN: Final = frozenset({500, 502})
# Aborted, and so 409 with code 10, yet final: the join server cannot claim (reference 2.8).
_FINAL_ABORTS: Final = frozenset({"claiming_not_supported"})


class Target(StrEnum):
    """What a call is about: each kind has its own names for "there is none" (reference 5.4)."""

    IS_DEVICE = "is_device"
    NS_DEVICE = "ns_device"
    AS_DEVICE = "as_device"
    JS_DEVICE = "js_device"
    API_KEY = "api_key"
    AS_STATE = "as_state"  # webhooks, pub/subs, links, JS settings
    APPLICATION = "application"
    ORGANIZATION = "organization"
    PURGE = "purge"


# By name and namespace; "" is any, for namespaces moved between versions. pkg/redis says no more than not_found, and so
# do others of other things: there the namespace counts.
_REDIS: Final = ("not_found", "pkg/redis")
_DEVICE: Final = frozenset({("device_not_found", ""), _REDIS})
GONE: Final[Mapping[Target, frozenset[tuple[str, str]]]] = {
    Target.IS_DEVICE: frozenset({("end_device_not_found", "")}),
    Target.NS_DEVICE: _DEVICE,
    Target.AS_DEVICE: _DEVICE,
    Target.JS_DEVICE: _DEVICE,
    Target.API_KEY: frozenset({("api_key_not_found", "")}),
    Target.AS_STATE: frozenset({_REDIS}),
    Target.APPLICATION: frozenset({("application_not_found", "")}),
    Target.ORGANIZATION: frozenset({("organization_not_found", "")}),
    Target.PURGE: frozenset({("entity_not_found", "")}),
}


class Verdict(StrEnum):
    """What an answer comes to."""

    DONE = "done"
    GONE = "gone"
    DENIED = "denied"
    UNAUTHENTICATED = "unauthenticated"
    CONFLICT = "conflict"
    AWAY = "away"  # not now; asked again long enough already
    WRONG = "wrong"


class Presence(StrEnum):
    """What the existence probe tells, which any authenticated caller may ask (reference 5.5)."""

    PRESENT = "present"
    ABSENT = "absent"  # or soft-deleted: its id may still be reserved
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class StackError:
    """An error's body as far as it is relied on; name is "" for routing errors and for what proxies answer."""

    name: str = ""
    namespace: str = ""
    code: int | None = None
    attributes: Mapping[str, object] = field(default_factory=dict)
    correlation_id: str | None = None
    message: str = ""


NO_ERROR: Final = StackError()


@dataclass(frozen=True, slots=True)
class Outcome:
    """One call's end, after all its attempts.

    status: None when there was no answer; failure then says why, and unsent that nothing can have reached the server.
    body: the JSON object of a 200; it may hold a key, so no repr shows it. total: X-Total-Count. snippet: at most 400
    characters without keys, of a failure.
    elapsed: seconds from the first attempt, waiting for its turn not counted.
    """

    endpoint: str
    status: int | None = None
    error: StackError = NO_ERROR
    body: Mapping[str, object] = field(default_factory=dict, repr=False)
    total: int | None = None
    snippet: str | None = None
    failure: str = ""
    unsent: bool = False
    attempts: int = 1
    elapsed: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether it was done: every success is a 200 (reference 1)."""
        return self.status == _OK and not self.failure


def parse_error(content: bytes) -> StackError:
    """The error in an answer's body; an empty one for HTML, routing errors and whatever else has no details."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return NO_ERROR
    if not isinstance(body, dict):
        return NO_ERROR
    code = body.get("code")
    message = body.get("message")
    known = StackError(
        code=code if isinstance(code, int) else None,
        message=message if isinstance(message, str) else "",
    )
    details = body.get("details")
    for one in details if isinstance(details, list) else []:
        if isinstance(one, dict) and _is_made_of(_NAME, one.get("name")):
            return _detailed(known, one)
    return known


def _is_made_of(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _detailed(known: StackError, detail: Mapping[str, object]) -> StackError:
    attributes = detail.get("attributes")
    code = detail.get("code")
    correlation = detail.get("correlation_id")
    return StackError(
        str(detail["name"]),
        str(detail.get("namespace") or ""),
        code if isinstance(code, int) else known.code,
        attributes if isinstance(attributes, dict) else {},
        str(correlation) if _is_made_of(_CORRELATION, correlation) else None,
        known.message,
    )


def scrub(text: str, secrets: tuple[str, ...] = ()) -> str:
    """A text without keys: those named, and whatever looks like one."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, _HIDDEN)
    return _BEARER.sub(rf"\1{_HIDDEN}", _KEY.sub(_HIDDEN, text))


def snippet_of(content: bytes, secrets: tuple[str, ...] = ()) -> str | None:
    """What a step's response_snippet may show of a failed answer: name and correlation id first, then its words.

    Keys are taken out before it is cut to 400 characters, so that no half of one stays.
    """
    error = parse_error(content)
    text = error.message or content.decode("utf-8", "replace")
    if error.name:
        text = f"{error.namespace}:{error.name} [{error.correlation_id or '-'}] {text}"
    # PostgreSQL's text has no U+0000.
    shown = scrub(text, secrets).replace("\0", "").strip()[:SNIPPET_CHARS]
    return shown or None


def may_repeat(outcome: Outcome, *, repeatable: bool) -> bool:
    """Whether to ask again (reference 5.3).

    repeatable: doing it twice does no harm, as all deletes, reads and upserts; making an API key does. What is not is
    only asked again where nothing can have happened.
    """
    if outcome.status is None:
        return bool(outcome.failure) and (outcome.unsent or repeatable)
    if outcome.status == _LIMITED:
        return True
    if outcome.status == _CONFLICT:
        return outcome.error.code == _ABORTED and outcome.error.name not in _FINAL_ABORTS
    return repeatable and (outcome.status in _AWAY or outcome.status in BROKEN)


def is_gone(outcome: Outcome, target: Target) -> bool:
    """Whether a 404 says that there is no such thing, by the names that only the thing's own registry uses."""
    error = outcome.error
    if outcome.status != _NOT_FOUND or not error.name or error.code not in (_MISSING, None):
        return False
    names = GONE[target]
    return (error.name, "") in names or (error.name, error.namespace) in names


def read_probe(outcome: Outcome, target: Target = Target.APPLICATION) -> Presence:
    """What GET of an application's or organization's public fields tells of it."""
    if outcome.ok:
        return Presence.ABSENT if outcome.body.get("deleted_at") else Presence.PRESENT
    return Presence.ABSENT if is_gone(outcome, target) else Presence.UNKNOWN


def judge(outcome: Outcome, target: Target) -> Verdict:
    """What an answer comes to; a 403 is DENIED until the probe tells more (`judge_denied`)."""
    if outcome.ok:
        return Verdict.DONE
    if is_gone(outcome, target):
        return Verdict.GONE
    if outcome.status == _UNAUTHENTICATED or outcome.error.namespace == "pkg/auth":
        return Verdict.UNAUTHENTICATED  # a malformed key is a 400 pkg/auth:token
    if outcome.status == _FORBIDDEN:
        return Verdict.DENIED
    if may_repeat(outcome, repeatable=True):
        return Verdict.AWAY
    return Verdict.CONFLICT if outcome.status == _CONFLICT else Verdict.WRONG


def judge_denied(outcome: Outcome, presence: Presence) -> Verdict:
    """A 403 with what the probe said: of something that is not there, it means gone (reference 5.5)."""
    names = ("no_application_rights", "no_organization_rights")
    if outcome.error.name in names and presence is Presence.ABSENT:
        return Verdict.GONE
    return Verdict.DENIED


def has_devices(outcome: Outcome) -> bool:
    """Whether an application was not deleted because devices are left (reference 4.2)."""
    return outcome.error.name == "application_has_devices"


def needs_admin(outcome: Outcome) -> bool:
    """Whether a purge was refused because only an admin's own key may (reference 4.2, 4.3)."""
    return outcome.status == _FORBIDDEN and outcome.error.name.startswith("admins_purge_")


def rate_wait(headers: Mapping[str, str]) -> float:
    """How many seconds a 429 asks to wait: at least 1, since the server cuts to whole seconds (reference 5.3)."""
    waits = [1.0]
    for name in ("x-rate-limit-retry", "retry-after"):
        text = headers.get(name, "").strip()
        if text.isascii() and text.isdecimal():
            waits.append(float(text))
    return max(waits)
