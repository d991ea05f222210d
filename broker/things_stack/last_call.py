"""A deletion that takes the key in use along: its answer may be the last one that the key gets (reference 9, item 12).

That it is about to be asked for is written down before. Whoever goes on after a kill, and is told that there is no such
key, can then tell the deletion's own doing from a key that was revoked.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from broker.things_stack.client import ThingsStack
from broker.things_stack.driver import Driver
from schema.things_stack_outcomes import Outcome, Presence, Target, Verdict, judge, read_probe

APPLICATION: Final = "application"
ORGANIZATION: Final = "organization"
_NO_SUCH_KEY: Final = "api_key_not_found"


async def announce(driver: Driver, kind: str) -> None:
    """Write down that an application or organization is about to be deleted with a key of its own; else nothing."""
    asked = driver.run.facts.get("last_calls", {})
    if _is_own(driver, kind) and asked.get(kind) != driver.run.claim:
        await driver.save(last_calls={**asked, kind: driver.run.claim})


async def went_with_it(driver: Driver, kind: str, outcome: Outcome) -> bool:
    """Whether a 401 says that an earlier deletion, whose answer was lost, was carried out.

    So it is when the deletion was asked for before, by this very call or by a process before, and the server does not
    know the key any more; unless another key of the connection still sees what was to be deleted (5.5).
    """
    if judge(outcome, Target.APPLICATION) is not Verdict.UNAUTHENTICATED:
        return False
    asked = driver.run.facts.get("last_calls", {}).get(kind)
    is_repeated = outcome.attempts > 1 or asked != driver.run.claim
    if asked is None or not is_repeated or not _is_own(driver, kind):
        return False
    return outcome.error.name == _NO_SUCH_KEY and not await _is_seen_by_another(driver, kind)


def _is_own(driver: Driver, kind: str) -> bool:
    name = _id_of(driver, kind)
    return name is not None and driver.run.facts.get("key_entity") == f"{kind}:{name}"


def _id_of(driver: Driver, kind: str) -> str | None:
    return driver.run.application_id if kind == APPLICATION else driver.run.ttn_org_id


async def _is_seen_by_another(driver: Driver, kind: str) -> bool:
    """The existence probe with the other keys that are stored, as far as the server knows them."""
    for key in driver.credentials.other_keys:
        credentials = replace(driver.credentials, api_key=key, other_keys=())
        async with driver.connect(credentials) as stack:
            presence = await _probe(stack, kind, str(_id_of(driver, kind)))
        if presence is not Presence.UNKNOWN:
            return presence is Presence.PRESENT
    return False


async def _probe(stack: ThingsStack, kind: str, name: str) -> Presence:
    if kind == APPLICATION:
        return read_probe(await stack.applications.get(name))
    return read_probe(await stack.organizations.get(name), Target.ORGANIZATION)
