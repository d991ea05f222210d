"""The client of The Things Stack, against a server on loopback that gives scripted answers."""

from __future__ import annotations

import asyncio
import json

import pytest

from broker.things_stack.client import ThingsStack
from broker.things_stack.credentials import Credentials
from broker.things_stack.devices import Registry
from broker.things_stack.leftovers import state_of
from broker.things_stack.paging import Page
from broker.things_stack.transport import Patience
from schema.things_stack_hosts import Hosts, StackHosts
from tests.unit.scripted_http import Scripted, ScriptedServer, refusal, scripted

KEY = "NNSXS." + "C" * 39 + "." + "D" * 52
QUICK = Patience(5, attempts=4, broken=2, first_wait=0, least_rate_wait=0, jitter=0)
DONE = Scripted()
LIMITED = Scripted(429, refusal("rate_limit_exceeded", 8), ("X-Rate-Limit-Retry: 0",))


def client(server: ScriptedServer, *, concurrency: int = 4, api_key: str = KEY) -> ThingsStack:
    """A client of the server, which is identity and regional server at once."""
    host = f"127.0.0.1:{server.port}"
    return ThingsStack(
        Credentials(api_key, Hosts.own(host)),
        StackHosts.parse(f"http://{host}"),
        patience=QUICK,
        concurrency=concurrency,
    )


async def test_each_call_carries_the_key_to_its_route() -> None:
    """The word Bearer, /api/v3, ids as one path segment each, whatever is in them."""
    async with scripted(DONE) as server, client(server) as stack:
        host = f"127.0.0.1:{server.port}"
        assert (await stack.devices.delete(Registry.NS, host, "app", "../x")).ok
        assert (await stack.applications.purge("app")).ok
    lines = [one.splitlines()[0] for one in server.asked]
    assert lines == [
        "DELETE /api/v3/ns/applications/app/devices/..%2Fx HTTP/1.1",
        "DELETE /api/v3/applications/app/purge HTTP/1.1",
    ]
    assert all(f"Authorization: Bearer {KEY}" in one for one in server.asked)


@pytest.mark.parametrize(
    ("answers", "status", "attempts"),
    [
        ([LIMITED, LIMITED, DONE], 200, 3),
        ([Scripted(409, refusal("transaction_failed", 10)), DONE], 200, 2),
        ([Scripted(503, b"<html>"), DONE], 200, 2),
        ([Scripted(drop=True), DONE], 200, 2),
        ([LIMITED], 429, 4),
        ([Scripted(500)], 500, 2),
        ([Scripted(502, b"<html>Bad gateway</html>")], 502, 2),
        ([Scripted(409, refusal("id_taken", 6)), DONE], 409, 1),
        ([Scripted(404, refusal("device_not_found", 5)), DONE], 404, 1),
        ([Scripted(401), DONE], 401, 1),
        ([Scripted(501), DONE], 501, 1),
        ([Scripted(302, b"", ("Location: /elsewhere",)), DONE], 302, 1),
    ],
)
async def test_what_heals_is_asked_again(
    answers: list[Scripted], status: int, attempts: int
) -> None:
    """Reference 5.3: rate limits, aborted transactions, servers that are away, lost connections; nothing else."""
    async with scripted(*answers) as server, client(server) as stack:
        outcome = await stack.applications.delete("app")
    assert (outcome.status, outcome.attempts) == (status, attempts)
    assert len(server.asked) == attempts


async def test_a_key_is_not_created_twice() -> None:
    """A lost answer to the creation of a key stays lost; a rate limit, which comes before the work, is waited out."""
    async with scripted(Scripted(drop=True)) as server, client(server) as stack:
        outcome = await stack.applications.keys("app").create("k", ["RIGHT_APPLICATION_INFO"])
        assert (outcome.status, len(server.asked)) == (None, 1)
    answers = [LIMITED, Scripted(200, json.dumps({"id": "I", "key": KEY}).encode())]
    async with scripted(*answers) as server, client(server) as stack:
        outcome = await stack.applications.keys("app").create("k", ["RIGHT_APPLICATION_INFO"])
        assert (outcome.body["key"], outcome.snippet) == (KEY, None)


async def test_lists_are_read_to_a_short_page() -> None:
    """Pages by limit and page, the total from its header; an empty list has no array."""

    def listed(count: int, start: int) -> Scripted:
        devices = [{"ids": {"device_id": f"d{start + n}"}} for n in range(count)]
        body = json.dumps({"end_devices": devices} if devices else {})
        return Scripted(200, body.encode(), ("X-Total-Count: 200",))

    async with (
        scripted(listed(100, 0), listed(100, 100), listed(0, 0)) as server,
        client(server) as stack,
    ):
        found: list[Page] = [page async for page in stack.devices.list("app")]
    assert [len(page.items) for page in found] == [100, 100, 0]
    assert {page.outcome.total for page in found} == {200}
    assert ["page=2" in one.splitlines()[0] for one in server.asked] == [False, True, False]
    assert all("limit=100" in one for one in server.asked)


async def test_a_total_that_is_no_number_of_things_is_none() -> None:
    """Whatever stands in the header, the call has an outcome."""
    for text in ("9" * 5000, "-1", "many", "9" * 19):
        async with (
            scripted(Scripted(200, b"{}", (f"X-Total-Count: {text}",))) as server,
            client(server) as stack,
        ):
            found = [page async for page in stack.devices.list("app")]
        assert [(page.outcome.ok, page.outcome.total) for page in found] == [(True, None)]


async def test_one_that_is_gone_already_leaves_none_behind_it() -> None:
    """Webhooks are deleted until the list is empty, whoever else deletes some of them meanwhile."""
    both = json.dumps({"webhooks": [{"ids": {"webhook_id": name}} for name in ("a", "b")]})
    gone = json.dumps(
        {"code": 5, "details": [{"namespace": "pkg/redis", "name": "not_found", "code": 5}]}
    )
    answers = (Scripted(200, both.encode()), Scripted(404, gone.encode()), DONE, DONE)
    async with scripted(*answers) as server, client(server) as stack:
        host = f"127.0.0.1:{server.port}"
        _, _, webhooks = state_of(stack.regional, "app")[0]
        assert (await webhooks(host)).ok
    lines = [one.splitlines()[0].split()[:2] for one in server.asked]
    assert [(verb, where.split("?")[0][-2:]) for verb, where in lines[1:3]] == [
        ("DELETE", "/a"),
        ("DELETE", "/b"),
    ]


async def test_a_list_ends_with_its_first_failure() -> None:
    """What was read before it is not the whole list, and the last page says so."""
    async with (
        scripted(Scripted(403, refusal("no_application_rights", 7))) as server,
        client(server) as stack,
    ):
        found = [page async for page in stack.devices.list("app")]
    assert [(page.outcome.status, page.items) for page in found] == [(403, ())]


async def test_no_other_host_sees_the_key() -> None:
    """A host that is not allowed is not called, and the outcome says so."""
    async with scripted(DONE) as other, scripted(DONE) as server, client(server) as stack:
        host = f"127.0.0.1:{other.port}"
        outcome = await stack.devices.get(Registry.AS, host, "app", "d")
    assert (outcome.status, outcome.unsent, other.asked) == (None, True, [])
    assert "JOBBROKER_THINGS_STACK_HOSTS" in outcome.failure


async def test_calls_at_once_are_bounded() -> None:
    """As many as were allowed, however many are asked for."""
    async with scripted(DONE) as server, client(server, concurrency=3) as stack:
        await asyncio.gather(*(stack.applications.get(f"app-{n}") for n in range(20)))
    assert len(server.asked) == 20
    assert server.most_at_once <= 3


async def test_a_key_in_an_answer_is_shown_nowhere() -> None:
    """Neither in a snippet nor in a repr; of calls about secrets no word of the answer is shown."""
    echo = Scripted(400, refusal("validation", 3, message=f"bad {KEY} of {'D' * 52}"))
    async with scripted(echo) as server, client(server) as stack:
        outcome = await stack.applications.get("app")
        assert outcome.snippet is not None
        assert "bad [key] of [key]" in outcome.snippet
        host = f"127.0.0.1:{server.port}"
        private = await stack.regional.set_webhook(host, "app", "w", {"headers": {"A": "s"}}, [])
        assert private.snippet == "validation"
    assert KEY not in repr(Credentials(KEY, Hosts.own("a")))


async def test_an_endless_or_strange_answer_is_a_failure() -> None:
    """HTML with a 200 and more than 16 MiB are no success."""
    async with scripted(Scripted(200, b"<html>")) as server, client(server) as stack:
        outcome = await stack.applications.get("app")
        assert (outcome.ok, outcome.failure) == (False, "the answer is no JSON object")
    big = Scripted(200, b'{"a":"' + b"x" * (16 * 1024 * 1024) + b'"}')
    async with scripted(big) as server, client(server) as stack:
        outcome = await stack.applications.get("app")
        assert not outcome.ok
        assert "more than" in outcome.failure


async def test_a_silent_server_is_not_waited_for() -> None:
    """A server that never answers is a failure after the timeout."""

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(hold, "127.0.0.1", 0)
    host = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with (
        listener,
        ThingsStack(
            Credentials(KEY, Hosts.own(host)),
            StackHosts.parse(f"http://{host}"),
            patience=Patience(0.05, attempts=2, first_wait=0, jitter=0),
        ) as stack,
    ):
        outcome = await stack.applications.get("app")
    assert (outcome.status, outcome.attempts) == (None, 2)
    assert "Timeout" in outcome.failure
