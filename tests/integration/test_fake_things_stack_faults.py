"""The simulated Things Stack goes wrong on command, and remembers rights as regional hosts do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from broker.simulator.things_stack import Kind, Options, seeding
from tests.helpers import eventually
from tests.integration.stack_calls import Setting, name_of, setting


@pytest.fixture
async def stack() -> AsyncIterator[Setting]:
    """An installation with a tenant that has 3 devices."""
    async with setting(devices=3) as made:
        yield made


async def test_429_says_when_to_retry_in_whole_seconds(stack: Setting) -> None:
    """5.3: the header may be 0; there is no Retry-After; the next request is as ever."""
    stack.server.faults.next("GET", "/applications/*", Kind.RATE_LIMITED, times=2, retry=0)
    answer = await stack.call("GET", stack.app)
    assert (answer.status_code, answer.json()["code"], name_of(answer)) == (
        429,
        8,
        "rate_limit_exceeded",
    )
    assert answer.headers["x-rate-limit-retry"] == "0"
    assert "retry-after" not in answer.headers
    assert (await stack.call("GET", stack.app)).status_code == 429
    assert (await stack.call("GET", stack.app)).status_code == 200


@pytest.mark.parametrize(
    ("kind", "status", "code", "name"),
    [
        (Kind.ABORTED, 409, 10, "transaction_failed"),
        (Kind.UNAVAILABLE, 503, 14, "peer_unavailable"),
        (Kind.INTERNAL, 500, 13, "internal"),
        (Kind.NO_RIGHTS, 403, 7, "no_application_rights"),
    ],
)
async def test_refusals_change_nothing(
    stack: Setting, kind: Kind, status: int, code: int, name: str
) -> None:
    """5.2: each with its code, once, and without any effect."""
    stack.server.faults.next("DELETE", "/ns/*", kind)
    path = f"/ns{stack.app}/devices/sensor-0001"
    answer = await stack.call("DELETE", path)
    assert (answer.status_code, answer.json()["code"], name_of(answer)) == (status, code, name)
    assert len(stack.server.stack.holders_of(seeding.eui_of(1))) == 4
    assert (await stack.call("DELETE", path)).status_code == 200


async def test_pages_of_a_proxy_are_no_json(stack: Setting) -> None:
    """9.23: 502 and 503 with HTML."""
    for kind, status in ((Kind.BAD_GATEWAY, 502), (Kind.MAINTENANCE, 503)):
        stack.server.faults.next("*", "*", kind, host="eu1")
        answer = await stack.call("DELETE", f"{stack.app}/devices/sensor-0001")
        assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html")
    stack.server.faults.next("*", "*", Kind.QUOTING)
    quoting = await stack.call("GET", stack.app)
    assert quoting.status_code == 502
    assert f"authorization: Bearer {stack.call.key}" in quoting.text
    assert len(stack.server.stack.holders_of(seeding.eui_of(1))) == 4


async def test_a_connection_is_cut_before_or_after_the_work(stack: Setting) -> None:
    """5.3, 9.10: no answer says nothing of what was done."""
    path = f"/js{stack.app}/devices/sensor-0001"
    stack.server.faults.next("DELETE", "/js/*", Kind.DROP_BEFORE)
    with pytest.raises(httpx.TransportError):
        await stack.call("DELETE", path)
    assert len(stack.server.stack.holders_of(seeding.eui_of(1))) == 4
    stack.server.faults.next("DELETE", "/js/*", Kind.DROP_AFTER)
    with pytest.raises(httpx.TransportError):
        await stack.call("DELETE", path)
    assert len(stack.server.stack.holders_of(seeding.eui_of(1))) == 3
    assert name_of(await stack.call("DELETE", path)) == "device_not_found"


async def test_an_error_although_it_is_done(stack: Setting) -> None:
    """4.1: the application server removes the device, fails at its packages, and has it no more."""
    path = f"/as{stack.app}/devices/sensor-0001"
    stack.server.faults.next("DELETE", "/as/*", Kind.DONE_BUT_ERROR)
    assert (await stack.call("DELETE", path)).status_code == 500
    assert name_of(await stack.call("DELETE", path)) == "device_not_found"


async def test_a_device_comes_between_list_and_delete(stack: Setting) -> None:
    """9.8: what runs after an answer was made is not in the answer."""
    state, app_id = stack.server.stack, stack.tenant.application.id

    def insert() -> None:
        seeding.device(state, (app_id, "late-comer"), "AA" * 8)

    stack.server.faults.next("GET", f"{stack.app}/devices", Kind.THEN, action=insert)
    first = await stack.call("GET", f"{stack.app}/devices", limit=100)
    second = await stack.call("GET", f"{stack.app}/devices", limit=100)
    assert (first.headers["x-total-count"], second.headers["x-total-count"]) == ("3", "4")


async def test_slow_answers_come_and_those_nobody_waits_for_end(stack: Setting) -> None:
    """A slow request is answered after a while; hanging up ends it, and it has no effect."""
    stack.server.faults.next("GET", "/applications/*", Kind.SLOW, seconds=0.05)
    assert (await stack.call("GET", stack.app)).status_code == 200
    stack.server.faults.next("DELETE", "*", Kind.SLOW, seconds=3600)
    path = f"{stack.app}/devices/sensor-0001"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await stack.call("DELETE", path)
    await eventually(lambda: stack.server.record.under_way == 0)
    assert len(stack.server.stack.holders_of(seeding.eui_of(1))) == 4


async def test_how_many_requests_are_under_way_is_counted() -> None:
    """With some latency requests meet, and the record has the most at once."""
    async with setting(Options(latency=0.3)) as stack:
        await asyncio.gather(*(stack.call("GET", stack.app) for _ in range(5)))
        assert (stack.server.record.most_at_once, stack.server.record.under_way) == (5, 0)


async def test_random_faults_come_from_a_seed_and_come_to_an_end() -> None:
    """The same seed brings the same faults; after so many there are no more."""
    seen = []
    for _ in range(2):
        async with setting(devices=3) as stack:
            stack.server.faults.at_random(
                7, 0.5, kinds=(Kind.UNAVAILABLE, Kind.RATE_LIMITED, Kind.MAINTENANCE), most=5
            )
            statuses = [(await stack.call("GET", stack.app)).status_code for _ in range(40)]
            seen.append(statuses)
            assert len(stack.server.faults.happened) == 5
            assert statuses[-10:] == [200] * 10
    assert seen[0] == seen[1]


async def test_regional_hosts_remember_rights() -> None:
    """6.4, 9.13: refusals and grants both outlive their reason for as long as they are kept."""
    async with setting(Options(rights_ttl=120.0), devices=1) as stack:
        state = stack.server.stack
        path = "/ns/applications/later-app/devices/sensor-0001"
        assert (await stack.call("GET", path)).status_code == 403
        seeding.application(state, "later-app", stack.tenant.organization)
        assert name_of(await stack.call("GET", path)) == "no_application_rights"
        assert (await stack.call("GET", path, host="nam1")).status_code == 404
        state.clock.move(timedelta(seconds=121))
        assert (await stack.call("GET", path)).status_code == 404
        device = f"/ns{stack.app}/devices/sensor-0001"
        assert (await stack.call("GET", device)).status_code == 200
        key_id = stack.tenant.organization_key.split(".")[1]
        state.remove_key(stack.tenant.organization, key_id)
        assert (await stack.call("GET", f"{stack.app}/devices")).status_code == 401
        assert (await stack.call("GET", device)).status_code == 200
        state.clock.move(timedelta(seconds=121))
        assert (await stack.call("GET", device)).status_code == 401


async def test_rate_limits_where_an_installation_has_them() -> None:
    """5.3: by method, entity and key; the headers come with successes, too."""
    async with setting(Options(rate_per_minute=2), devices=1) as stack:
        path = f"{stack.app}/devices"
        first = await stack.call("GET", path)
        assert (first.status_code, first.headers["x-rate-limit-available"]) == (200, "1")
        assert (await stack.call("GET", path)).status_code == 200
        third = await stack.call("GET", path)
        assert (third.status_code, name_of(third)) == (429, "rate_limit_exceeded")
        assert int(third.headers["x-rate-limit-retry"]) >= 58
        assert (await stack.owner("GET", path)).status_code == 200
        stack.server.stack.clock.move(timedelta(seconds=61))
        assert (await stack.call("GET", path)).status_code == 200
