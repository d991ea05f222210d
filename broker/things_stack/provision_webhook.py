"""The webhook: with a secret header, since the server signs nothing."""

from __future__ import annotations

import hmac
from typing import Final

from broker.things_stack.provision_work import StepFailed, Work, require
from schema.things_stack_outcomes import Target

SECRET_HEADER: Final = "X-Webhook-Secret"  # noqa: S105 - the name of it
_KINDS: Final = ("uplink_message", "join_accept", "downlink_failed", "service_data")
_FRESH: Final = True


async def set_webhook(work: Work) -> None:
    """Set ours, with a secret that is stored before it is shown to anybody; verified by reading it back."""
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
