"""The door to a tenant's events: who may follow, for how long, and how many at once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from broker.audience import Audience
from broker.http.events import FollowEvents
from broker.http.identity import Identity
from broker.http.limits import RateLimit
from broker.streams import Streams
from handlers import outbox
from handlers.database import Pool
from handlers.store import Told
from schema.topics import TopicMode
from tests.event_source import event_source
from tests.helpers import eventually
from tests.integration.http_door import http_door
from tests.integration.operator_desk import Desk


@pytest.fixture
async def door(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """/api/v1/events alone, with a quick heart."""
    monkeypatch.setattr("broker.http.events.BEAT_SECONDS", 0.05)
    monkeypatch.setattr("broker.http.events.MOST_OF_ONE", 2)
    hub = Streams(pool, Audience(TopicMode.MOUNTED))
    follow = FollowEvents(pool, hub, Identity(pool, per_key=RateLimit(0, 1)))
    async with http_door(follow.routes()) as client:
        yield client
        hub.close()


async def test_a_revoked_token_ends_the_stream(door: httpx.AsyncClient, pool: Pool) -> None:
    """While it is good there are signs of life, and then events; when it is revoked there is an end, and why."""
    desk = Desk(pool)
    await desk.accepted(
        "operators/create", {"operatorName": "eve", "role": "viewer", "issueToken": False}
    )
    made = await desk.accepted("tokens/create", {"operatorName": "eve", "expiresInDays": 1})
    async with event_source(door, made["token"]) as source:
        told = Told("default", 0, messages=(("$aws/events/job/j/completed", '{"operation":"x"}'),))
        await outbox.forget(pool, [told], slot=0)
        events = source.events()
        assert (await anext(events)).data == {"operation": "x"}
        await desk.accepted("tokens/revoke", {"tokenId": made["tokenId"]})
        rest = [event async for event in events]
    assert [(event.kind, event.data["code"]) for event in rest] == [("end", "Unauthenticated")]
    assert source.comments > 0


async def test_some_live_events_are_told_on_request(door: httpx.AsyncClient, pool: Pool) -> None:
    """With live=some a few of many, although others want all, and all that is not live."""
    made = {"operatorName": "eve", "role": "viewer"}
    token = (await Desk(pool).accepted("operators/create", made))["token"]
    topics = [*(200 * ["$aws/events/jobExecution/j/progress"]), "$aws/events/job/j/completed"]
    messages = tuple((topic, f'{{"jobId":"j","operation":"{topic[22:]}"}}') for topic in topics)
    async with event_source(door, token) as whole, event_source(door, token, live="some") as some:
        await outbox.forget(pool, [Told("default", 0, messages=messages)], slot=0)
        end = (messages[-1][1].split('"')[-2], "j")
        found = [len(await source.until(end)) for source in (whole, some)]
    assert found[0] == 201
    assert 21 <= found[1] < 201


async def test_who_may_follow(door: httpx.AsyncClient, pool: Pool) -> None:
    """Nobody without a token or with a thing's; one operator not more often than is allowed."""
    desk = Desk(pool)
    eve = (await desk.accepted("operators/create", {"operatorName": "eve", "role": "viewer"}))[
        "token"
    ]
    thing = (await desk.accepted("things/create", {"thingName": "t1", "issueToken": True}))["token"]
    for token in ("x", "wrong", thing):
        answer = await door.get("/api/v1/events", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401
    asked = {"Authorization": f"Bearer {eve}"}
    for query, field in (
        ("jobId=a.b", "jobId"),
        ("lastEventId=x", "lastEventId"),
        ("job=j", "job"),
        ("live=none", "live"),
    ):
        answer = await door.get(f"/api/v1/events?{query}", headers=asked)
        assert answer.status_code == 400
        assert field in answer.json()["message"]
    async with event_source(door, eve), event_source(door, eve):
        answer = await door.get("/api/v1/events", headers=asked)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")

    async def again() -> bool:
        async with door.stream("GET", "/api/v1/events", headers=asked) as response:
            return response.status_code == 200

    assert await eventually(again)
