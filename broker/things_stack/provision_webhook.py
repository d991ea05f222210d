"""The webhook: with a secret header, since the server signs nothing; what an earlier one left goes first (9.19)."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Final

from broker.things_stack.paging import items_of
from broker.things_stack.provision_work import StepFailed, Work, require
from schema.things_stack_outcomes import Outcome, Target

SECRET_HEADER: Final = "X-Webhook-Secret"  # noqa: S105 - the name of it
_KINDS: Final = ("uplink_message", "join_accept", "downlink_failed", "service_data")
_LISTINGS: Final = 20
_FRESH: Final = True


async def set_webhook(work: Work) -> None:
    """Set ours, with a secret that is stored before it is shown to anybody; verified by reading it back.

    An application that we made inherits webhooks and pub/subs of one that had its id: they go, or its data would still
    be sent to where it was sent then. Those of an application that was there before us stay.
    """
    if work.details.get("created_application") == work.application_id:
        await _clear_inherited(work)
    secret = work.secret("webhook_secret")
    if secret is None:
        secret = work.new_secret()
        await work.note({"webhook_secret": secret, "webhook_id": f"jobbroker-{work.mark}"})
    fields: dict[str, object] = {
        "base_url": work.found.row["webhook_url"],
        "format": "json",
        "headers": {SECRET_HEADER: secret},
        **{kind: {} for kind in _KINDS},
    }
    host, webhook_id = work.found.hosts.application, str(work.found.row["webhook_id"])
    outcome = await work.stack.regional.set_webhook(
        host, work.application_id, webhook_id, fields, list(fields)
    )
    require(outcome, "set webhook", Target.AS_STATE, fresh_rights=_FRESH)
    await verify_webhook(work)


async def verify_webhook(work: Work) -> None:
    """It is there, goes where it should, and has the secret. Raises StepFailed."""
    row = work.found.row
    outcome = await work.stack.regional.webhook(
        work.found.hosts.application,
        work.application_id,
        str(row["webhook_id"]),
        ["base_url", "headers"],
    )
    body = require(outcome, "get webhook", Target.AS_STATE, fresh_rights=_FRESH).body
    headers = body.get("headers")
    found = headers.get(SECRET_HEADER) if isinstance(headers, dict) else None
    same = hmac.compare_digest(str(found or ""), work.secret("webhook_secret") or "")
    if body.get("base_url") != row["webhook_url"] or not same:
        raise StepFailed("get webhook: it is not as it was set", may_heal=True)


async def _clear_inherited(work: Work) -> None:
    host, regional, application = (
        work.found.hosts.application,
        work.stack.regional,
        work.application_id,
    )
    own = work.found.row["webhook_id"]
    await _empty(
        lambda: regional.webhooks(host, application),
        ("webhooks", "webhook_id"),
        lambda one: regional.delete_webhook(host, application, one),
        keep=own,
    )
    await _empty(
        lambda: regional.pubsubs(host, application),
        ("pubsubs", "pub_sub_id"),
        lambda one: regional.delete_pubsub(host, application, one),
        keep=None,
    )


async def _empty(
    listing: Callable[[], Awaitable[Outcome]],
    names: tuple[str, str],
    delete: Callable[[str], Awaitable[Outcome]],
    *,
    keep: str | None,
) -> None:
    """Delete and list again until nothing else is left: newer servers list 100 at most (9, item 20)."""
    key, id_name = names
    for _ in range(_LISTINGS):
        outcome = require(await listing(), f"list {key}", Target.AS_STATE, fresh_rights=_FRESH)
        ids = [
            str(ids[id_name])
            for one in items_of(outcome, key)
            if isinstance(ids := one.get("ids"), dict)
        ]
        left = [one for one in ids if one != keep]
        if not left:
            return
        for one in left:
            require(await delete(one), f"delete of {key}", Target.AS_STATE, fresh_rights=_FRESH)
    raise StepFailed(f"list {key}: there are always more", may_heal=True)
