"""What an application has on application and join servers beside devices, which outlives it (reference 2.5, 2.6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from broker.things_stack.paths import path
from broker.things_stack.transport import Call, Transport
from schema.things_stack_outcomes import Outcome


@dataclass(frozen=True, slots=True)
class Regional:
    """Webhooks, pub/subs, package associations and the link (AS); settings (JS). Each call names its host."""

    transport: Transport

    async def webhooks(self, host: str, application_id: str) -> Outcome:
        """`webhooks` with ids alone; newer servers list at most 100, so delete and list until there are none."""
        return await self._get(host, path("as", "webhooks", application_id), private=True)

    async def webhook(
        self, host: str, application_id: str, webhook_id: str, fields: Sequence[str] = ("ids",)
    ) -> Outcome:
        """One webhook; missing: 404 pkg/redis:not_found. Its headers are secrets: nothing of it is shown."""
        query = {"field_mask": ",".join(fields)}
        where = path("as", "webhooks", application_id, webhook_id)
        return await self.transport.call(Call("GET", host, where, query, private=True))

    async def set_webhook(
        self,
        host: str,
        application_id: str,
        webhook_id: str,
        fields: Mapping[str, object],
        mask: Sequence[str],
    ) -> Outcome:
        """Make or change a webhook, an upsert. A kind of message is on when its object is there and in the mask."""
        ids = {"webhook_id": webhook_id, "application_ids": {"application_id": application_id}}
        body = {"webhook": {**fields, "ids": ids}, "field_mask": {"paths": list(mask)}}
        where = path("as", "webhooks", application_id, webhook_id)
        return await self.transport.call(Call("PUT", host, where, body=body, private=True))

    async def delete_webhook(self, host: str, application_id: str, webhook_id: str) -> Outcome:
        """200 also when there is none."""
        return await self._delete(host, path("as", "webhooks", application_id, webhook_id))

    async def pubsubs(self, host: str, application_id: str) -> Outcome:
        """`pubsubs`; they may hold credentials: nothing of them is shown."""
        return await self._get(host, path("as", "pubsub", application_id), private=True)

    async def delete_pubsub(self, host: str, application_id: str, pubsub_id: str) -> Outcome:
        """200 also when there is none."""
        return await self._delete(host, path("as", "pubsub", application_id, pubsub_id))

    async def delete_link(self, host: str, application_id: str) -> Outcome:
        """The link, and with it the default package associations."""
        return await self._delete(host, path("as", "applications", application_id, "link"))

    async def default_packages(self, host: str, application_id: str) -> Outcome:
        """`defaults`: packages that every device of the application has on a port."""
        where = path("as", "applications", application_id, "packages", "associations")
        return await self._get(host, where, private=True)

    async def delete_default_package(self, host: str, application_id: str, f_port: str) -> Outcome:
        """200 also when there is none."""
        where = path("as", "applications", application_id, "packages", "associations", f_port)
        return await self._delete(host, where)

    async def delete_join_settings(self, host: str, application_id: str) -> Outcome:
        """The join server's settings of an application."""
        return await self._delete(host, path("js", "applications", application_id, "settings"))

    async def _get(self, host: str, where: str, *, private: bool) -> Outcome:
        return await self.transport.call(Call("GET", host, where, private=private))

    async def _delete(self, host: str, where: str) -> Outcome:
        return await self.transport.call(Call("DELETE", host, where))
