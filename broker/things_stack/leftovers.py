"""What an application leaves on application and join servers: it outlives it, and the next of its id inherits it.

Webhooks, pub/subs, the link, packages, join settings (reference/the-things-stack.md 4.2, and 9 items 19 and 20).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from broker.things_stack.devices import Registry
from broker.things_stack.paging import items_of
from broker.things_stack.recording import STATUS_OF
from broker.things_stack.regional import Regional
from schema.things_stack_outcomes import Outcome, Target, Verdict, is_gone, judge
from schema.things_stack_runs import StepName, StepStatus

_LISTINGS_MOST: Final = 20
_NO_ROUTE: Final = (404, 501)

OnHost = Callable[[str], Awaitable[Outcome]]


def state_of(regional: Regional, application: str) -> Sequence[tuple[StepName, Registry, OnHost]]:
    """What is to be deleted, of which registry's hosts, and how on one of them.

    Webhooks and pub/subs first: they send data on.
    """

    def webhooks(host: str) -> Awaitable[Outcome]:
        return empty(
            lambda: regional.webhooks(host, application),
            ("webhooks", "webhook_id"),
            lambda name: regional.delete_webhook(host, application, name),
        )

    def pubsubs(host: str) -> Awaitable[Outcome]:
        return empty(
            lambda: regional.pubsubs(host, application),
            ("pubsubs", "pub_sub_id"),
            lambda name: regional.delete_pubsub(host, application, name),
        )

    def packages(host: str) -> Awaitable[Outcome]:
        return empty(
            lambda: regional.default_packages(host, application),
            ("defaults", "f_port"),
            lambda port: regional.delete_default_package(host, application, port),
        )

    return (
        (StepName.DELETE_WEBHOOKS, Registry.AS, webhooks),
        (StepName.DELETE_PUBSUBS, Registry.AS, pubsubs),
        (StepName.DELETE_LINK, Registry.AS, lambda host: regional.delete_link(host, application)),
        (StepName.DELETE_PACKAGES, Registry.AS, packages),
        (
            StepName.DELETE_JOIN_SETTINGS,
            Registry.JS,
            lambda host: regional.delete_join_settings(host, application),
        ),
    )


def read_deletion(outcome: Outcome) -> tuple[StepStatus, str]:
    """How the deletion on one host went, and why when it is not simply done."""
    verdict = judge(outcome, Target.AS_STATE)
    if verdict is Verdict.GONE:
        return StepStatus.SKIPPED, "none"
    if outcome.status in _NO_ROUTE:
        # Settings that are not there, or a server that has none such: nothing is held either way.
        return StepStatus.SKIPPED, "none" if outcome.error.name else "not_offered"
    if verdict is Verdict.DENIED and outcome.error.name.startswith("insufficient_"):
        return StepStatus.SKIPPED, "not_permitted"
    if STATUS_OF[verdict] is StepStatus.ERROR:
        name = outcome.error.name or outcome.failure or "no details"
        return StepStatus.ERROR, f"{outcome.status or 'no answer'} {name}"
    return StepStatus.OK, ""


async def empty(
    list_all: Callable[[], Awaitable[Outcome]],
    where: tuple[str, str],
    delete: Callable[[str], Awaitable[Outcome]],
) -> Outcome:
    """List and delete until the list is empty, since newer servers show at most 100 (9, item 20).

    where: the list's member, and the id's within an entry's ids.
    """
    outcome = await list_all()
    for _ in range(_LISTINGS_MOST):
        ids = [one.get("ids") for one in items_of(outcome, where[0])]
        names = [one[where[1]] for one in ids if isinstance(one, dict) and where[1] in one]
        if not outcome.ok or not names:
            return outcome
        for name in names:
            deleted = await delete(str(name))
            # One that went meanwhile says nothing of those behind it.
            if not deleted.ok and not is_gone(deleted, Target.AS_STATE):
                return deleted
        outcome = await list_all()
    return Outcome(outcome.endpoint, failure="the list does not get empty")
