"""Who may publish and receive what on a real Mosquitto with our files: the whole matrix."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest

from broker.ca import CertificateAuthority
from schema.access import AccessSnapshot
from tests.acceptance.access_server import (
    TENANTS,
    TESTER,
    AccessServer,
    install,
    person,
    revoked,
    start_access_server,
)
from tests.acceptance.mqtt_probe import Login, Probe, RefusedError
from tests.helpers import eventually
from tests.servers import Choice

Kind = Literal["token", "token over TLS", "certificate"]
KINDS: tuple[Kind, ...] = ("token", "token over TLS", "certificate")
END = "end-of-test"

OWN = "$aws/things/dev1/jobs"
OTHER = "$aws/things/dev2/jobs"
ROOM = "operators/ann"

THING_MAY_PUBLISH = [
    f"{OWN}/get",
    f"{OWN}/start-next",
    f"{OWN}/j1/get",
    f"{OWN}/$next/get",
    f"{OWN}/j1/update",
]
ANSWERS = ["get/accepted", "get/rejected", "start-next/accepted", "start-next/rejected"]
ANSWERS += ["j1/get/accepted", "$next/get/rejected", "j1/update/accepted", "j1/update/rejected"]
NOTIFICATIONS = ["notify", "notify-next"]
EVENTS = ["$aws/events/job/j1/completed", "$aws/events/jobExecution/j1/succeeded"]
OPERATOR_MAY_PUBLISH = [
    f"{ROOM}/jobs/create",
    f"{ROOM}/jobs/list",
    f"{ROOM}/jobs/j1/get",
    f"{ROOM}/jobs/j1/cancel",
    f"{ROOM}/jobs/j1/delete",
    f"{ROOM}/jobs/j1/associate",
    f"{ROOM}/jobs/j1/executions/dev1/cancel",
    f"{ROOM}/templates/create",
    f"{ROOM}/managed-templates/list",
    f"{ROOM}/things/create",
    f"{ROOM}/groups/add",
    f"{ROOM}/operators/list",
    f"{ROOM}/tokens/create",
    f"{ROOM}/audit/list",
]
BEYOND_THE_WALL = [
    "$SYS/broker/uptime",
    "$CONTROL/dynamic-security/v1",
    "$share/jobbroker/x",
    f"default/{OWN}/get",
    f"acme/{OWN}/get",
    "anything",
]
THING_MAY_NOT_PUBLISH = [
    *(f"{OWN}/{answer}" for answer in [*ANSWERS, *NOTIFICATIONS]),
    f"{OWN}/j1",
    f"{OWN}/j1/delete",
    f"{OWN}/get/j1/update",
    "$aws/things/dev1/shadow/update",
    *(f"{OTHER}/{rest}" for rest in ["get", "j1/update", "get/accepted", "notify"]),
    f"{ROOM}/jobs/create",
    "operators/dev1/jobs/create",
    *EVENTS,
    *BEYOND_THE_WALL,
]
OPERATOR_MAY_NOT_PUBLISH = [
    f"{ROOM}/jobs/create/accepted",
    f"{ROOM}/jobs/j1/get/rejected",
    f"{ROOM}/answers/mine",
    "operators/bob/jobs/create",
    "operators/bob/jobs/create/accepted",
    f"{OWN}/get",
    f"{OWN}/notify-next",
    "$aws/things/ann/jobs/get",
    "$aws/things/ann/jobs/j1/update",
    *EVENTS,
    *BEYOND_THE_WALL,
]
THING_RECEIVES = [f"{OWN}/{rest}" for rest in [*ANSWERS, *NOTIFICATIONS]]
OPERATOR_RECEIVES = [
    f"{ROOM}/jobs/create/accepted",
    f"{ROOM}/jobs/j1/executions/dev1/cancel/rejected",
    f"{ROOM}/things/create/accepted",
    f"{ROOM}/answers/mine",
    *EVENTS,
]
SAID_IN_DEFAULT = [
    *THING_MAY_PUBLISH,
    *THING_RECEIVES,
    *OPERATOR_RECEIVES,
    f"{OTHER}/get",
    f"{OTHER}/get/accepted",
    f"{OTHER}/notify-next",
    "operators/bob/jobs/create",
    "operators/bob/jobs/create/accepted",
    "$aws/things/ann/jobs/notify",
    "$share/jobbroker/x",
    "$SYS/broker/uptime",
    "$CONTROL/dynamic-security/v1",
    "anything",
]
GREEDY = ["#", "$aws/#", "$aws/things/+/jobs/#", "+/+/+/+/+", "operators/#", "$SYS/#"]
GREEDY += ["$share/jobbroker/#", "$share/jobbroker/+/$aws/things/+/jobs/get", "default/#"]
AWSIOTSDK = [f"{OWN}/{end}" for end in ("get/+", "start-next/+", "j1/get/+", "j1/update/+")]
AWSIOTSDK += [f"{OWN}/$next/get/+", f"{OWN}/notify", f"{OWN}/notify-next"]


@pytest.fixture(scope="module")
async def access(
    servers: Choice, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[AccessServer]:
    """The server with things dev1 and dev2, operators ann and bob, and a tester who may all."""
    started = await start_access_server(servers, tmp_path_factory.mktemp("access"))
    await started.server.start()
    cast = (
        person(started, "dev1", "thing"),
        person(started, "dev2", "thing"),
        person(started, "ann", "operator", "manager"),
        person(started, "bob", "operator", "viewer"),
    )
    await install(started, AccessSnapshot(TENANTS, cast), tester=True)
    # It reads its files when it comes to that; the tester stands in them last.
    await eventually(lambda: connects(started.internal(TESTER, started.tokens[TESTER])))
    yield started
    await started.server.remove()


def login(access: AccessServer, name: str, kind: Kind) -> Login:
    """Return the login of a default-tenant name by one kind of credential."""
    if kind == "certificate":
        return access.by_certificate(name)
    return access.by_token(name, tls=kind == "token over TLS")


def all_mighty(access: AccessServer) -> Probe:
    """Return a client on the unmounted listener who may publish and hear anything."""
    return Probe(access.internal(TESTER, access.tokens[TESTER]))


async def connects(credentials: Login) -> bool:
    """Tell whether the server lets a client in."""
    try:
        async with Probe(credentials):
            return True
    except RefusedError:
        return False


async def refuses(credentials: Login) -> bool:
    """Tell whether the server keeps a client out."""
    return not await connects(credentials)


async def published(access: AccessServer, who: Probe, topics: list[str]) -> tuple[set[str], ...]:
    """Publish to each topic; return which the server took and which the tester then saw.

    What is refused is answered with a reason and closes no connection.
    """
    async with all_mighty(access) as observer:
        await observer.subscribe("#", "$aws/#")
        taken = {topic for topic in topics if await who.publish(topic)}
        await observer.publish(END)
        seen = set(await observer.topics_until(END))
    assert not who.dropped.is_set()
    return taken, seen


async def heard(
    access: AccessServer, who: Probe, filters: list[str], said: list[str], *, end: str
) -> list[str]:
    """Have the tester say `said` in the default tenant; return what `who` was delivered of it."""
    await who.subscribe(*filters)
    async with all_mighty(access) as speaker:
        for topic in said:
            assert await speaker.publish(f"default/{topic}")
        await speaker.publish(f"default/{end}", b"end")
    return await who.topics_until(end)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_thing_may_publish(access: AccessServer, kind: Kind) -> None:
    """A thing publishes its own requests and nothing else, by either kind of credential."""
    topics = [*THING_MAY_PUBLISH, *THING_MAY_NOT_PUBLISH]
    async with Probe(login(access, "dev1", kind)) as thing:
        taken, seen = await published(access, thing, topics)
    assert taken == set(THING_MAY_PUBLISH)
    assert seen == {f"default/{topic}" for topic in THING_MAY_PUBLISH}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["ann", "bob"])
async def test_what_an_operator_may_publish(access: AccessServer, kind: Kind, name: str) -> None:
    """An operator of any role publishes requests in its own room, and not as a thing."""
    mine = {"ann": "bob", "bob": "ann"}
    swap = [
        topic if name == "ann" else _swapped(topic, mine)
        for topic in [*OPERATOR_MAY_PUBLISH, *OPERATOR_MAY_NOT_PUBLISH]
    ]
    allowed = set(swap[: len(OPERATOR_MAY_PUBLISH)])
    async with Probe(login(access, name, kind)) as operator:
        taken, seen = await published(access, operator, swap)
    assert taken == allowed
    assert seen == {f"default/{topic}" for topic in allowed}


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_thing_receives(access: AccessServer, kind: Kind) -> None:
    """However much it subscribes to, a thing hears its own answers and notifications alone."""
    said = [topic for topic in SAID_IN_DEFAULT if topic not in THING_RECEIVES]
    async with Probe(login(access, "dev1", kind)) as thing:
        end = f"{OWN}/notify"
        strange = await heard(access, thing, GREEDY, said, end=end)
    assert strange == []
    async with Probe(login(access, "dev1", kind)) as thing:
        said = [topic for topic in THING_RECEIVES if topic != f"{OWN}/notify"]
        own = await heard(access, thing, AWSIOTSDK, said, end=f"{OWN}/notify")
    assert own == said


@pytest.mark.parametrize("kind", KINDS)
async def test_what_an_operator_receives(access: AccessServer, kind: Kind) -> None:
    """An operator hears its room and its tenant's events, whatever it subscribes to."""
    end = f"{ROOM}/jobs/list/accepted"
    async with Probe(login(access, "ann", kind)) as operator:
        got = await heard(access, operator, GREEDY, SAID_IN_DEFAULT, end=end)
    assert set(got) == set(OPERATOR_RECEIVES)


async def test_a_viewer_hears_events(access: AccessServer) -> None:
    """Every role reads the events, and a viewer's own room, but no other's."""
    async with Probe(login(access, "bob", "token")) as viewer:
        end = "operators/bob/jobs/list/accepted"
        got = await heard(access, viewer, GREEDY, SAID_IN_DEFAULT, end=end)
    rooms = ["operators/bob/jobs/create", "operators/bob/jobs/create/accepted"]
    assert set(got) == {*EVENTS, *rooms}


async def test_what_the_broker_may_publish(access: AccessServer) -> None:
    """The broker answers, notifies and reports in every tenant, and makes up no requests."""
    allowed = [
        f"{tenant}/{topic}" for tenant in TENANTS for topic in [*THING_RECEIVES, *OPERATOR_RECEIVES]
    ]
    refused = [f"default/{topic}" for topic in THING_MAY_PUBLISH]
    refused += [f"{OWN}/notify", "$SYS/broker/uptime", "anything", "default/anything"]
    async with Probe(access.internal()) as broker:
        taken, seen = await published(access, broker, [*allowed, *refused])
    assert taken == set(allowed)
    assert seen == set(allowed)


async def test_what_the_broker_receives(access: AccessServer) -> None:
    """The broker's shared subscriptions get every tenant's requests; nothing else is for it."""
    filters = [f"$share/jobbroker/+/$aws/things/+/jobs/{end}" for end in ("get", "start-next")]
    filters += [f"$share/jobbroker/+/$aws/things/+/jobs/+/{end}" for end in ("get", "update")]
    filters += [f"$share/jobbroker/+/operators/+/{end}" for end in ("jobs/create", "things/+")]
    requests = [*THING_MAY_PUBLISH, f"{ROOM}/jobs/create", f"{ROOM}/things/create"]
    async with Probe(access.internal()) as broker, all_mighty(access) as speaker:
        await broker.subscribe(*filters)
        said = [f"{tenant}/{topic}" for tenant in TENANTS for topic in requests]
        others = ["default/anything", f"default/{OWN}/notify", "default/operators/ann/x/y"]
        for topic in [*said, *others]:
            await speaker.publish(topic)
        await speaker.publish("default/operators/z/things/list")
        assert await broker.topics_until("default/operators/z/things/list") == said
        await broker.subscribe("$SYS/broker/version")


async def test_nobody_takes_a_share_of_the_requests(access: AccessServer) -> None:
    """Things and operators that subscribe as the broker does take no request away from it."""
    shared = "$share/jobbroker/+/$aws/things/+/jobs/get"
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(Probe(access.internal()))
        await broker.subscribe(shared)
        for name in ("dev2", "ann", "bob"):
            thief = await stack.enter_async_context(Probe(login(access, name, "token")))
            await thief.subscribe(shared, "$share/jobbroker/$aws/things/+/jobs/get")
        thing = await stack.enter_async_context(Probe(login(access, "dev1", "certificate")))
        for _ in range(20):
            assert await thing.publish(f"{OWN}/get")
        got = [await broker.received.get() for _ in range(20)]
    assert {topic for topic, _ in got} == {f"default/{OWN}/get"}


async def test_tenants_are_walls(access: AccessServer) -> None:
    """A certificate of acme's authority speaks in acme only, under the same topics."""
    async with Probe(access.by_certificate("gate7", tenant="acme")) as gate:
        topics = ["$aws/things/gate7/jobs/get", f"default/{OWN}/get", "$aws/things/dev1/jobs/get"]
        taken, seen = await published(access, gate, topics)
        assert taken == {"$aws/things/gate7/jobs/get"}
        assert seen == {"acme/$aws/things/gate7/jobs/get"}
        await gate.subscribe("#")
        async with all_mighty(access) as speaker:
            for tenant in ("default", "acme"):
                await speaker.publish(f"{tenant}/$aws/things/gate7/jobs/notify", tenant.encode())
        assert await gate.received.get() == ("$aws/things/gate7/jobs/notify", b"acme")


async def test_username_cannot_be_chosen_beside_a_certificate(access: AccessServer) -> None:
    """The certificate's name counts: another username sent with it changes nothing."""
    posing = replace(access.by_certificate("dev1"), username="dev2", password="x")
    async with Probe(posing) as thing:
        assert await thing.publish(f"{OWN}/get")
        assert not await thing.publish(f"{OTHER}/get")


async def test_another_name_s_session_holds_nothing_readable(access: AccessServer) -> None:
    """Taking a client id that another name used delivers nothing of what waits for it."""
    async with Probe(access.by_token("dev1"), client_id="shared-id", expiry=60) as victim:
        await victim.subscribe(f"{OWN}/notify-next")
    async with all_mighty(access) as speaker:
        await speaker.publish(f"default/{OWN}/notify-next", b"secret")
    async with Probe(access.by_token("dev2"), client_id="shared-id", expiry=60) as thief:
        got = await heard(
            access, thief, [f"{OTHER}/notify"], [f"{OWN}/notify-next"], end=f"{OTHER}/notify"
        )
    assert got == []


async def test_who_may_not_even_connect(access: AccessServer, tmp_path: Path) -> None:
    """Anonymous, wrong and foreign credentials are refused at the door, each of them."""
    stranger = CertificateAuthority.create(tmp_path, now=datetime.now(UTC) - timedelta(minutes=1))
    good = access.by_certificate("dev1")
    past = datetime.now(UTC) - timedelta(days=3)
    server = access.authorities["default"].directory
    own_pair = (server / "server.crt", server / "server.key")
    refused = {
        "anonymous": replace(access.by_token("dev1"), username=None, password=None),
        "anonymous over TLS": replace(
            access.by_token("dev1", tls=True), username=None, password=None
        ),
        "anonymous inside": replace(access.internal(), username=None, password=None),
        "wrong token": access.by_token("dev1", password="wrong"),
        "another's token": access.by_token("dev1", password=access.tokens["dev2"]),
        "unknown name": access.by_token("dev9", password="x"),
        "wrong broker password": access.internal(password="x"),
        "no certificate": replace(good, certificate=None),
        "token instead of certificate": replace(
            good, certificate=None, username="dev1", password=access.tokens["dev1"]
        ),
        "foreign authority": access.by_certificate("dev1", authority=stranger),
        "another tenant's authority": access.by_certificate(
            "dev1", authority=access.authorities["acme"]
        ),
        "expired certificate": access.by_certificate("dev1", issued_at=past),
        "the server's own certificate": replace(good, certificate=own_pair),
    }
    let_in = [case for case, credentials in refused.items() if await connects(credentials)]
    assert let_in == []
    assert await connects(good)


async def test_revoked_certificate_is_refused_when_it_reconnects(
    servers: Choice, tmp_path: Path
) -> None:
    """A revocation reaches Mosquitto by reload; who is connected stays until it reconnects."""
    access = await start_access_server(servers, tmp_path)
    await access.server.start()
    good, bad, other = (access.by_certificate(f"dev{number}") for number in (1, 2, 3))
    async with Probe(bad) as connected, Probe(good) as bystander:
        await install(access, AccessSnapshot(TENANTS, revoked=(revoked(bad), revoked(other))))
        # The other one tells when the list was read: letting `bad` in would take `connected` over.
        await eventually(lambda: refuses(other))
        assert await refuses(bad)
        assert await connected.publish("$aws/things/dev2/jobs/get")
        assert not bystander.dropped.is_set()
    async with Probe(good) as again:
        assert await again.publish(f"{OWN}/get")
    await access.server.remove()


def _swapped(topic: str, names: dict[str, str]) -> str:
    return "/".join(names.get(level, level) for level in topic.split("/"))
