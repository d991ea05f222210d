"""A broker for AWS's own clients: boto3 with access keys as the commands give them out, and somebody who listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from broker.secret_keys import new_key, parse_keys
from handlers.context import Outside
from handlers.database import Pool, create_pool
from schema.access_keys import AccessKeys
from tests.acceptance.http_site import HttpSite, http_site
from tests.conftest import Database, StartMosquitto
from tests.integration.operator_desk import Desk

REGION = "us-east-1"
ARN = f"arn:aws:iot:{REGION}:000000000000"
Keys = dict[str, str]


@dataclass(frozen=True, slots=True)
class AwsSite:
    """Where the broker listens, and the access keys of who was made so far, by name."""

    http: HttpSite
    pool: Pool
    desk: Desk
    secret_key: str
    keys: dict[str, Keys] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The HTTP port's."""
        return self.http.url

    def port_of(self, service: str) -> int:
        """The port that a service has for itself."""
        return int(self.http.broker.lines("http_listening")[0][service])

    async def operator(self, name: str, role: str) -> None:
        """Register an operator, and keep their access key."""
        made = await self.desk.accepted("operators/create", {"operatorName": name, "role": role})
        self.keys[name] = made

    async def thing(self, name: str) -> None:
        """Register a thing, and keep its access key."""
        made = await self.desk.accepted("things/create", {"thingName": name, "issueToken": True})
        self.keys[name] = made

    def client(self, service: str, who: str, **other: Any) -> Any:  # noqa: ANN401 - boto3's clients have no types
        """A client of boto3's as it is, but for the endpoint; other are arguments in the place of the usual ones."""
        given = {
            "region_name": REGION,
            "endpoint_url": self.url,
            "aws_access_key_id": self.keys[who]["accessKeyId"],
            "aws_secret_access_key": self.keys[who]["secretAccessKey"],
            # Errors that are retried are asked for once.
            "config": Config(retries={"total_max_attempts": 1}),
        }
        return _session().client(service, **{**given, **other})

    def environment(self, who: str) -> dict[str, str]:
        """What AWS's programs read of theirs from the environment."""
        return {
            "AWS_ACCESS_KEY_ID": self.keys[who]["accessKeyId"],
            "AWS_SECRET_ACCESS_KEY": self.keys[who]["secretAccessKey"],
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@cache
def _session() -> Any:  # noqa: ANN401 - as above
    """One for all clients: what it has read of AWS's models it does not read again."""
    return boto3.session.Session()


@asynccontextmanager
async def aws_site(
    start_mosquitto: StartMosquitto, database: Database, directory: Path, **settings: str
) -> AsyncIterator[AwsSite]:
    """Start it, with `boss`, an owner, in place."""
    key = new_key()
    ports = {"JOBBROKER_HTTP_IOT_PORT": "0", "JOBBROKER_HTTP_JOBS_DATA_PORT": "0"}
    unlimited = {"JOBBROKER_HTTP_TOKEN_RATE": "0"}
    given = {"JOBBROKER_SECRET_KEY": key, **ports, **unlimited, **settings}
    async with http_site(start_mosquitto, database, directory, **given) as http:
        pool = await create_pool(database.url, size=2)
        desk = Desk(pool, outside=Outside(access_keys=AccessKeys(parse_keys(key))))
        site = AwsSite(http, pool, desk, key)
        await site.operator("boss", "owner")
        try:
            yield site
        finally:
            await pool.close()


async def call(function: Callable[..., Any], **members: Any) -> Any:  # noqa: ANN401 - as above
    """What a client of boto3's, which waits for its answer, is answered; without the response's metadata."""
    answer = await asyncio.to_thread(function, **members)
    if isinstance(answer, dict):
        answer.pop("ResponseMetadata", None)
    return answer
