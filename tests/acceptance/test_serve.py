"""`jobbroker serve` on servers that run by themselves, set up by the commands alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509

from tests.acceptance.mqtt_probe import Probe
from tests.acceptance.running_broker import RunningBroker, running_served
from tests.servers import Choice


@pytest.fixture(scope="module")
async def served(
    servers: Choice, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningBroker]:
    """A broker of this module's own."""
    async with running_served(servers, tmp_path_factory.mktemp("served")) as broker:
        yield broker


async def test_check_finds_everything_well(served: RunningBroker) -> None:
    """`check` has a line for database, walls, MQTT server and certificates, and none fails."""
    served.environment["JOBBROKER_OPERATOR_URL"] = served.operator_url
    ended = await served.run("check", "--json")
    del served.environment["JOBBROKER_OPERATOR_URL"]
    found = {one["what"]: one for one in json.loads(ended.out)}
    assert {one["state"] for one in found.values()} == {"ok"}, ended.out
    assert {"database role", "row-level security", "MQTT rules", "round trip", "HTTP"} <= set(found)
    assert ended.code == 0


async def test_health_tells_by_its_exit_code(served: RunningBroker) -> None:
    """`health` exits with 0 when all answers and with 1 and a sentence when the database does not."""
    assert (await served.run("health")).code == 0
    wrong = {**served.environment, "JOBBROKER_DATABASE_URL": "postgresql://a:b@127.0.0.1:1/c"}
    ended = await RunningBroker.run(_with(served, wrong), "health")
    assert ended.code == 1
    assert "Traceback" not in ended.err


async def test_check_fails_on_a_wrong_password(served: RunningBroker) -> None:
    """A refused MQTT login is a failing line with its remedy, and exit code 1."""
    wrong = {**served.environment, "JOBBROKER_MQTT_URL": served.broker_mqtt.replace("of-the", "x")}
    ended = await _with(served, wrong).run("check", "--json")
    failing = [one for one in json.loads(ended.out) if one["state"] == "fail"]
    assert [one["what"] for one in failing] == ["MQTT session"]
    assert failing[0]["remedy"]
    assert ended.code == 1


async def test_check_fails_where_http_does_not_answer(served: RunningBroker) -> None:
    """Nothing on the port, or something else than us: a failing line that says which."""
    for port, words in ((1, "does not answer"), (served.token_port, "does not answer")):
        elsewhere = {**served.environment, "JOBBROKER_HTTP_PORT": str(port)}
        ended = await _with(served, elsewhere).run("check", "--json")
        failing = [one for one in json.loads(ended.out) if one["state"] == "fail"]
        assert [one["what"] for one in failing] == ["HTTP"]
        assert words in failing[0]["said"]
        assert ended.code == 1


async def test_a_second_broker_says_that_the_port_for_http_is_taken(served: RunningBroker) -> None:
    """It ends with the address and what to set, before it takes any request."""
    ended = await served.run("serve")
    assert ended.code == 1
    address = f"127.0.0.1:{served.environment['JOBBROKER_HTTP_PORT']}"
    assert f"HTTP on {address}: Address already in use; JOBBROKER_HTTP_HOST and" in ended.err
    assert "Traceback" not in ended.err


async def test_migrate_again_changes_nothing(served: RunningBroker) -> None:
    """`migrate` on a current database applies nothing, and --check agrees."""
    assert await served.cli("migrate") == {"applied": [], "current": True}
    assert (await served.run("migrate", "--check")).code == 0


async def test_a_second_authority_is_refused(served: RunningBroker) -> None:
    """`ca init` where there is an authority exits with 4 and touches nothing."""
    before = served.ca_file.read_bytes()
    assert (await served.run("ca", "init")).code == 4
    assert served.ca_file.read_bytes() == before


async def test_a_renewed_server_certificate_has_its_new_name(
    served: RunningBroker, tmp_path: Path
) -> None:
    """`ca renew` keeps the authority and gives the MQTT server another pair."""
    place = tmp_path / "ca"
    await served.cli("ca", "init", "--dir", str(place))
    authority, before = (place / "ca.crt").read_bytes(), (place / "server.crt").read_bytes()
    await served.cli("ca", "renew", "--dir", str(place), "--server-name", "mqtt.example.net")
    assert (place / "ca.crt").read_bytes() == authority
    renewed = (place / "server.crt").read_bytes()
    assert renewed != before
    names = x509.load_pem_x509_certificate(renewed).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert "mqtt.example.net" in names.value.get_values_for_type(x509.DNSName)


async def test_a_new_thing_and_a_new_certificate_are_let_in(
    served: RunningBroker, tmp_path: Path
) -> None:
    """A token and a certificate made while it serves are good without a restart."""
    async with Probe(await served.add_thing("served-1")):
        pass
    async with Probe(await served.add_thing_with_certificate("served-2", tmp_path)):
        pass


def _with(served: RunningBroker, environment: dict[str, str]) -> RunningBroker:
    return RunningBroker(
        command=served.command,
        environment=environment,
        log=served.log,
        ca_file=served.ca_file,
        token_port=served.token_port,
        certificate_port=served.certificate_port,
        operators_port=served.operators_port,
        broker_mqtt=served.broker_mqtt,
        database=served.database,
        database_admin=served.database_admin,
    )
