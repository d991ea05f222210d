"""Calls to a simulated Things Stack, as bare as they go over the wire: no retries, no reading of errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from broker.simulator.things_stack import Options, ThingsStackServer, running_things_stack
from broker.simulator.things_stack.seeding import Tenant, tenant
from tests.helpers import PATIENCE


def name_of(answer: httpx.Response) -> str:
    """The error's name, "" for an answer without details."""
    details = answer.json().get("details") or [{}]
    return str(details[0].get("name", ""))


def full_name(answer: httpx.Response) -> str:
    """`namespace:name` of the error."""
    details = answer.json()["details"][0]
    return f"{details['namespace']}:{details['name']}"


def attributes_of(answer: httpx.Response) -> dict[str, Any]:
    """The error's attributes."""
    found: dict[str, Any] = answer.json()["details"][0].get("attributes", {})
    return found


@dataclass(frozen=True, slots=True)
class Calls:
    """A client of one installation with one key, None for none."""

    server: ThingsStackServer
    http: httpx.AsyncClient
    key: str | None

    def with_key(self, key: str | None) -> Calls:
        """The same with another key."""
        return Calls(self.server, self.http, key)

    async def __call__(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        host: str | None = None,
        headers: Mapping[str, str] | None = None,
        **query: str | int | list[str],
    ) -> httpx.Response:
        """One request; `host` is a cluster's name, the identity server's when it is not given."""
        sent = {} if self.key is None else {"authorization": f"Bearer {self.key}"}
        return await self.http.request(
            method,
            f"{self.server.url(host)}/api/v3{path}",
            json=body,
            params=query,
            headers={**sent, **(headers or {})},
        )


@dataclass(frozen=True, slots=True)
class Setting:
    """A running installation with one tenant, and a client with the organization's key."""

    server: ThingsStackServer
    tenant: Tenant
    call: Calls

    @property
    def app(self) -> str:
        """The application's path."""
        return f"/applications/{self.tenant.application.id}"

    @property
    def owner(self) -> Calls:
        """With the user's key."""
        return self.call.with_key(self.tenant.user_key)


@asynccontextmanager
async def setting(
    options: Options | None = None, *, devices: int = 0, admin: bool = False
) -> AsyncIterator[Setting]:
    """A setting for as long as the block lasts."""
    # Reading the machine's certificates takes longer than all calls of a test, and there is no TLS here.
    client = httpx.AsyncClient(verify=False, timeout=PATIENCE)  # noqa: S501
    async with running_things_stack(options) as server, client as http:
        made = tenant(server.stack, devices=devices, admin=admin)
        yield Setting(server, made, Calls(server, http, made.organization_key))
