"""Who may connect to the MQTT server and what each may say there, as text for Mosquitto.

Pure: principals in, the lines of a password file and an ACL file out. Mosquitto checks an ACL
after it has put a listener's mount point in front of the topic, so every rule begins with a tenant.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from schema.topics import DEVICE_FILTERS, OPERATOR_FILTERS

BROKER_USER: Final = "@jobbroker"
"""MQTT username of the broker itself; no thing or operator can hold it, names have no ``@``."""

DEFAULT_TENANT: Final = "default"
"""The tenant whose listeners take tokens; further tenants prove names by certificates only."""

HASH_ROUNDS: Final = 101
"""PBKDF2 rounds of Mosquitto's ``$7$`` lines, spent again for each connected client on a reload."""

TopicsMode = Literal["mounted", "plain"]
"""``mounted``: each topic begins with its tenant. ``plain``: AWS's own topics, one tenant."""

_NAME: Final = re.compile(r"[a-zA-Z0-9:_-]{1,128}")
_TENANT: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_HASH: Final = re.compile(r"\$7\$[0-9]{1,7}\$[A-Za-z0-9+/]{1,64}={0,2}\$[A-Za-z0-9+/]{86}==")
_SHOWN: Final = 40

_THING_WRITES: Final = tuple(one.removeprefix("$aws/things/+/") for one in DEVICE_FILTERS)
_THING_READS: Final = (
    "jobs/notify",
    "jobs/notify-next",
    "jobs/get/+",
    "jobs/start-next/+",
    "jobs/+/get/+",
    "jobs/+/update/+",
)
_OPERATOR_WRITES: Final = tuple(one.removeprefix("operators/+/") for one in OPERATOR_FILTERS)


@dataclass(frozen=True, slots=True)
class Principal:
    """A thing or an operator as the MQTT server knows it.

    `mosquitto_hash` is the ``$7$`` hash of its live token, None when it has none (a certificate
    proves its name, or nothing does yet). `role` is an operator's role, None for a thing.
    """

    tenant_id: str
    name: str
    kind: Literal["thing", "operator"]
    role: str | None = None
    mosquitto_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Revoked:
    """A certificate that is refused from `revoked_at` (UTC) on; `serial` in lower-case hex."""

    tenant_id: str
    serial: str
    revoked_at: datetime


@dataclass(frozen=True, slots=True)
class Claim:
    """A live credential of `name` in one tenant, held `since`; `serial` when a certificate."""

    tenant_id: str
    name: str
    since: datetime
    serial: str | None


@dataclass(frozen=True, slots=True)
class AccessSnapshot:
    """All that decides who may connect, over all tenants, as of one moment.

    `claims` is only needed (and only filled) where several tenants share one MQTT server.
    """

    tenants: tuple[str, ...] = (DEFAULT_TENANT,)
    principals: tuple[Principal, ...] = ()
    revoked: tuple[Revoked, ...] = ()
    claims: tuple[Claim, ...] = ()


def mosquitto_hash(token: str, salt: bytes) -> str:
    """Return `token` as ``mosquitto_passwd`` would write it: ``$7$101$<salt>$<hash>``.

    PBKDF2 with HMAC-SHA512 over `salt` (12 random bytes, as ``mosquitto_passwd`` takes), both
    parts in base64. Few rounds are enough for a token of 256 random bits, and Mosquitto repeats
    them for every connected client on each reload.
    """
    digest = hashlib.pbkdf2_hmac("sha512", token.encode(), salt, HASH_ROUNDS)
    salt_text = base64.b64encode(salt).decode()
    return f"$7${HASH_ROUNDS}${salt_text}${base64.b64encode(digest).decode()}"


def verify_mosquitto_hash(token: str, stored: str) -> bool:
    """Tell whether `stored` (a ``$7$`` hash, any rounds) is of `token`; constant-time compare."""
    if _HASH.fullmatch(stored) is None:
        return False
    _, _, rounds, salt, digest = stored.split("$")
    made = hashlib.pbkdf2_hmac("sha512", token.encode(), base64.b64decode(salt), int(rounds))
    return hmac.compare_digest(made, base64.b64decode(digest))


def check_name(name: str) -> str:
    """Return `name` if it may stand in a rule: ``[a-zA-Z0-9:_-]{1,128}``; else ValueError.

    The last wall against a name that would add a line or a wildcard to Mosquitto's files.
    """
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"name {name[:_SHOWN]!r} does not match {_NAME.pattern}")
    return name


def check_token_name(name: str) -> str:
    """Return `name` if Mosquitto's password file can hold it; else ValueError.

    ``:`` ends the name in that file, so a thing whose name has one needs a certificate.
    """
    if ":" in check_name(name):
        raise ValueError(
            f"name {name[:_SHOWN]!r} holds ':', which Mosquitto's password file cannot; "
            "give it a certificate instead of a token"
        )
    return name


def check_tenant(tenant_id: str) -> str:
    """Return `tenant_id` if it may stand in a rule: ``[a-zA-Z0-9_-]{1,64}``; else ValueError."""
    if _TENANT.fullmatch(tenant_id) is None:
        raise ValueError(f"tenant {tenant_id[:_SHOWN]!r} does not match {_TENANT.pattern}")
    return tenant_id


def render_password_file(principals: Iterable[Principal], broker_hash: str) -> str:
    """Return the password file: the broker, then each principal with a token, by name.

    Only tokens of the tenant ``default`` are written: a password file is one for the whole MQTT
    server, so a token of another tenant would open the default tenant's listener under that name.

    Raises:
        ValueError: a name or a hash that would break the file's lines.

    """
    lines = [f"{BROKER_USER}:{_checked_hash(broker_hash)}"]
    holders = [p for p in principals if p.mosquitto_hash and p.tenant_id == DEFAULT_TENANT]
    lines += [
        f"{check_token_name(holder.name)}:{_checked_hash(holder.mosquitto_hash)}"
        for holder in sorted(holders, key=lambda p: p.name)
    ]
    return "\n".join(lines) + "\n"


def render_acl(
    tenants: Sequence[str], operators: Iterable[Principal], topics_mode: TopicsMode = "mounted"
) -> str:
    """Return the ACL file: patterns for all things, a block for each operator and for the broker.

    A thing publishes its four requests and hears its own answers and notifications, an operator
    publishes its own requests and hears its room and its tenant's events, and only the broker
    publishes answers, notifications and events. The rules are those of AWS IoT's policy examples,
    with the operators' rooms beside them. In plain mode only the tenant ``default`` has rules.

    Raises:
        ValueError: a name that does not match its pattern.

    """
    plain = topics_mode == "plain"
    served = [DEFAULT_TENANT] if plain else sorted(check_tenant(tenant) for tenant in set(tenants))
    lines = _broker_block("" if plain else "+/")
    for operator in sorted(operators, key=lambda o: (o.name, o.tenant_id)):
        if operator.tenant_id in served:
            lines += _operator_block(operator, "" if plain else f"{operator.tenant_id}/")
    for tenant in served:
        lines += _thing_patterns("" if plain else f"{tenant}/")
    return "\n".join(lines) + "\n"


def later_claims(claims: Iterable[Claim]) -> tuple[Claim, ...]:
    """Return the claims to a name that another tenant held first; they must not connect.

    MQTT client ids are one namespace in a server and a certificate's holder connects under its
    name, so two tenants' things of one name would take over each other's sessions, with what is
    queued in them. The tenant that holds the name longest keeps it.
    """
    ordered = sorted(claims, key=lambda c: (c.since, c.tenant_id))
    holder: dict[str, str] = {}
    for claim in ordered:
        holder.setdefault(claim.name, claim.tenant_id)
    return tuple(claim for claim in ordered if holder[claim.name] != claim.tenant_id)


def settle_names(snapshot: AccessSnapshot) -> AccessSnapshot:
    """Return the snapshot without what `later_claims` refuses: no token, no rules, revoked."""
    late = later_claims(snapshot.claims)
    if not late:
        return snapshot
    refused = {(claim.tenant_id, claim.name) for claim in late}
    kept = tuple(p for p in snapshot.principals if (p.tenant_id, p.name) not in refused)
    revoked = tuple(Revoked(c.tenant_id, c.serial, c.since) for c in late if c.serial is not None)
    return AccessSnapshot(snapshot.tenants, kept, snapshot.revoked + revoked, snapshot.claims)


def _checked_hash(stored: str | None) -> str:
    if stored is None or _HASH.fullmatch(stored) is None:
        raise ValueError("password hash is not of the form $7$rounds$salt$hash")
    return stored


def _broker_block(prefix: str) -> list[str]:
    things, room = f"{prefix}$aws/things/+/", f"{prefix}operators/+/"
    lines = [f"user {BROKER_USER}"]
    lines += [f"topic read {things}{topic}" for topic in _THING_WRITES]
    lines += [f"topic write {things}{topic}" for topic in _THING_READS]
    lines += [f"topic read {room}{topic}" for topic in _OPERATOR_WRITES]
    # The whole room: an MQTT 5 Response Topic may name any place in it.
    lines.append(f"topic write {room}#")
    lines.append(f"topic write {prefix}$aws/events/#")
    lines.append("topic read $SYS/broker/#")
    return [*lines, ""]


def _operator_block(operator: Principal, prefix: str) -> list[str]:
    name = check_name(operator.name)
    room = f"{prefix}operators/{name}/"
    lines = [f"user {name}"]
    # The patterns below would let it speak as a thing of its own name; a denial comes first.
    lines.append(f"topic deny {prefix}$aws/things/{name}/#")
    lines += [f"topic write {room}{topic}" for topic in _OPERATOR_WRITES]
    lines.append(f"topic read {room}#")
    lines.append(f"topic read {prefix}$aws/events/#")
    return [*lines, ""]


def _thing_patterns(prefix: str) -> list[str]:
    own = f"{prefix}$aws/things/%u/"
    lines = [f"pattern write {own}{topic}" for topic in _THING_WRITES]
    return [*lines, *(f"pattern read {own}{topic}" for topic in _THING_READS)]
