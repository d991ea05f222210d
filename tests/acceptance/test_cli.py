"""The command line against a running broker: every command, and what its exit code says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.acceptance.mqtt_probe import Probe, RefusedError
from tests.acceptance.running_broker import RunningBroker, run_command
from tests.helpers import PATIENCE, eventually

DOCUMENT = '{"operation":"reboot"}'


def fresh(word: str) -> str:
    """A name that no other test has."""
    return f"{word}-{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True, slots=True)
class Simulated:
    """A simulated fleet in a process of its own."""

    process: asyncio.subprocess.Process

    async def summary(self) -> dict[str, Any]:
        """Wait until it ends by itself; returns what it has seen."""
        assert self.process.stdout
        async with asyncio.timeout(150):
            text = await self.process.stdout.read()
            await self.process.wait()
        found = json.loads(text)
        assert isinstance(found, dict)
        return found


@asynccontextmanager
async def simulated(broker: RunningBroker, group: str, *options: str) -> AsyncIterator[Simulated]:
    """A simulated fleet in `group`, ended when the block is left."""
    mqtt = f"mqtt://127.0.0.1:{broker.token_port}"
    arguments = ("simulate", "--json", "--group", group, "--prefix", f"{group}-", "--mqtt", mqtt)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "broker",
        *arguments,
        *options,
        env=broker.environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield Simulated(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def members(broker: RunningBroker, group: str) -> list[str]:
    """The names in a group; none as long as there is no group."""
    ended = await broker.run("groups", "show", group, "--json")
    return json.loads(ended.out) if ended.code == 0 else []


async def test_a_job_that_succeeds_everywhere_ends_with_0(running_broker: RunningBroker) -> None:
    """Simulated devices do the job, `create --watch` follows it, and all agree on the counts."""
    group, job = fresh("well"), fresh("job")
    options = ("--devices", "20", "--latency", "10ms..100ms", "--until-idle", "45s", "--seed", "1")
    async with simulated(running_broker, group, *options) as fleet:
        await eventually(lambda: members(running_broker, group))
        create = ("jobs", "create", "--group", group, "--job-id", job, "--document-json", DOCUMENT)
        watched = await running_broker.run(*create, "--watch", "--timeout", "150s", "--json")
        assert watched.code == 0, watched.err
        details = json.loads(watched.out)["jobProcessDetails"]
        assert details["numberOfSucceededThings"] == 20
        summary = await fleet.summary()
    assert summary["outcomes"] == {"SUCCEEDED": 20}
    assert summary["rejected"] == {}
    assert summary["p99Milliseconds"] >= summary["p50Milliseconds"] > 0


async def test_a_job_that_fails_somewhere_ends_with_5(running_broker: RunningBroker) -> None:
    """`watch` and `simulate --until-job` say by 5 that not all succeeded."""
    group, job = fresh("ill"), fresh("job")
    async with simulated(running_broker, group, "--devices", "5", "--until-idle", "30s"):
        await eventually(lambda: members(running_broker, group))
    create = ("jobs", "create", "--group", group, "--job-id", job, "--document-json", DOCUMENT)
    await running_broker.cli(*create)
    options = ("--devices", "5", "--fail", "100%", "--latency", "10ms", "--until-job", job)
    async with simulated(running_broker, group, *options) as fleet:
        # Over MQTT it follows the job's events.
        over_mqtt = ("--timeout", "150s", "--as", running_broker.operator_url)
        watched = await running_broker.run("jobs", "watch", job, *over_mqtt)
        assert watched.code == 5, watched.err
        assert "5 failed" in watched.out
        await fleet.summary()
        assert fleet.process.returncode == 5


async def test_devices_that_drop_out_come_back_and_finish(running_broker: RunningBroker) -> None:
    """With many away and cut off in the middle, the job still completes."""
    group, job = fresh("shaky"), fresh("job")
    options = ("--devices", "12", "--offline", "40%", "--away", "100ms..500ms", "--seed", "3")
    async with simulated(running_broker, group, *options, "--until-idle", "45s") as fleet:
        await eventually(lambda: members(running_broker, group))
        create = ("jobs", "create", "--group", group, "--job-id", job, "--document-json", DOCUMENT)
        watched = await running_broker.run(*create, "--watch", "--timeout", "150s")
        assert watched.code == 0, watched.err
        summary = await fleet.summary()
    assert summary["connectionsLost"] > 0


async def test_the_same_commands_go_over_mqtt(running_broker: RunningBroker) -> None:
    """--as an operator creates, lists, shows and cancels what the local command line sees too."""
    thing, job = fresh("thing"), fresh("job")
    as_admin = ("--as", running_broker.operator_url)
    await running_broker.cli("things", "add", thing, *as_admin)
    create = ("jobs", "create", "--target", f"thing/{thing}", "--job-id", job)
    made = await running_broker.cli(*create, "--document-json", DOCUMENT, *as_admin)
    assert made["jobId"] == job
    assert "clientToken" not in made
    over_mqtt = await running_broker.cli("jobs", "show", job, *as_admin)
    local = await running_broker.cli("jobs", "show", job)
    assert over_mqtt["job"] == local["job"]
    assert over_mqtt["executions"] == local["executions"]
    await running_broker.cli("jobs", "cancel", job, *as_admin)
    assert (await running_broker.run("jobs", "watch", job, *as_admin)).code == 5


async def test_commands_over_tls_verify_the_server(running_broker: RunningBroker) -> None:
    """--as mqtts:// with the authority's certificate works, and without it is refused."""
    token, port = running_broker.admin_token, running_broker.operators_port
    as_admin = ("--as", f"mqtts://admin:{token}@127.0.0.1:{port}")
    ca_file = ("--ca-file", str(running_broker.ca_file))
    assert (await running_broker.run("jobs", "list", *as_admin, *ca_file)).code == 0
    ended = await running_broker.run("jobs", "list", *as_admin)
    assert ended.code == 1
    assert "certificate" in ended.err.lower()


async def test_a_viewer_is_told_which_role_is_needed(running_broker: RunningBroker) -> None:
    """A refusal is one sentence on stderr that names the role."""
    login = await running_broker.add_operator(fresh("viewer"), "viewer")
    url = f"mqtt://{login.username}:{login.password}@127.0.0.1:{login.port}"
    assert (await running_broker.run("jobs", "list", "--as", url)).code == 0
    ended = await running_broker.run(
        "jobs", "create", "--target", "thing/x", "--document-json", "{}", "--as", url
    )
    assert ended.code == 1
    assert "manager" in ended.err
    assert len(ended.err.strip().splitlines()) == 1


async def test_exit_codes_say_what_went_wrong(running_broker: RunningBroker) -> None:
    """2 usage, 3 not found, 4 conflict, 6 timeout; each with one sentence and no traceback."""
    thing, job = fresh("thing"), fresh("job")
    await running_broker.cli("things", "add", thing)
    create = ("jobs", "create", "--target", f"thing/{thing}", "--job-id", job, "--document-json")
    await running_broker.cli(*create, DOCUMENT)
    cases = {
        (*create, "not JSON"): 2,
        ("jobs", "create", "--target", "thing/x"): 2,
        ("jobs", "show", fresh("none")): 3,
        ("jobs", "create", "--target", f"thing/{fresh('none')}", "--document-json", "{}"): 3,
        (*create, '{"other":"content"}'): 4,
        ("jobs", "delete", job): 4,
        ("jobs", "watch", job, "--timeout", "200ms"): 6,
        ("jobs", "list", "--as", "mqtt://127.0.0.1:1"): 2,
        ("jobs", "list", "--as", "mqtt://admin:wrong@127.0.0.1:1"): 1,
    }
    for arguments, code in cases.items():
        ended = await running_broker.run(*arguments)
        assert (ended.code, arguments) == (code, arguments), ended.err
        assert "Traceback" not in ended.err
        assert "Error: " in ended.err
    assert (await running_broker.run(*create, DOCUMENT)).code == 0, "the same again is no conflict"


async def test_groups_of_groups_are_targets(running_broker: RunningBroker) -> None:
    """A job for a group reaches the things of the groups inside it."""
    outer, inner, thing = fresh("outer"), fresh("inner"), fresh("thing")
    await running_broker.cli("things", "add", thing)
    await running_broker.cli("groups", "add", outer)
    await running_broker.cli("groups", "add", inner, thing, "--parent", outer)
    assert await running_broker.cli("groups", "show", outer, "--recursive") == [thing]
    made = await running_broker.cli("jobs", "create", "--group", outer, "--document-json", "{}")
    assert made["execution_count"] == 1
    await running_broker.cli("groups", "remove", inner, thing)
    assert await running_broker.cli("groups", "show", inner) == []


async def test_the_seeds_words_make_a_document(running_broker: RunningBroker) -> None:
    """--type and --param make the document; parameters that are JSON stay what they are."""
    thing, job = fresh("thing"), fresh("job")
    await running_broker.cli("things", "add", thing)
    words = ("--type", "reboot", "--param", "delay=5", "--param", "why=because")
    create = ("jobs", "create", "--target", f"thing/{thing}", "--job-id", job, *words)
    await running_broker.cli(*create, "--expires-in-hours", "1.5")
    shown = await running_broker.cli("jobs", "show", job)
    params = {"delay": 5, "why": "because"}
    assert json.loads(shown["document"]) == {"type": "reboot", "params": params}


async def test_a_removed_thing_is_shut_out(running_broker: RunningBroker) -> None:
    """`things remove` takes its token away on the running MQTT server."""
    name = fresh("thing")
    login = await running_broker.add_thing(name, "--attribute", "site=north")
    shown = await running_broker.cli("things", "show", name)
    assert shown["attributes"] == {"site": "north"}
    await running_broker.cli("things", "remove", name)
    assert (await running_broker.run("things", "show", name)).code == 3

    async def refused() -> bool:
        try:
            async with Probe(login):
                return False
        except RefusedError:
            return True

    await eventually(refused)


async def test_a_signing_request_is_certified(
    running_broker: RunningBroker, tmp_path: Path
) -> None:
    """--csr signs the device's own key: no key is written, and the certificate is let in."""
    name = fresh("thing")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    (tmp_path / "request.pem").write_bytes(
        request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    out = tmp_path / "out"
    options = ("--cert", "--csr", str(tmp_path / "request.pem"), "--out", str(out))
    made = (await running_broker.cli("things", "add", name, *options))[0]
    assert "key" not in made
    issued = x509.load_pem_x509_certificate(Path(made["certificate"]).read_bytes())
    assert issued.public_key() == key.public_key()


async def test_operators_come_and_go(running_broker: RunningBroker) -> None:
    """An added operator is listed with its role, shown, and gone once removed."""
    name = fresh("ann")
    made = await running_broker.cli("operators", "add", name, "--role", "manager")
    assert made["token"]
    listed = {
        one["operatorName"]: one["role"] for one in await running_broker.cli("operators", "list")
    }
    assert listed[name] == "manager"
    assert (await running_broker.cli("operators", "show", name))["role"] == "manager"
    await running_broker.cli("operators", "remove", name)
    assert (await running_broker.run("operators", "show", name)).code == 3


async def test_tokens_come_are_used_and_go(running_broker: RunningBroker) -> None:
    """A token is printed once and opens HTTP's door; the list tells its use; revoked, it opens nothing."""
    name = fresh("ann")
    await running_broker.cli("operators", "add", name, "--role", "viewer")
    made = await running_broker.cli("tokens", "create", name, "--label", "nightly", "--days", "2")
    found = await running_broker.cli("check")
    answers = next(one["said"] for one in found if one["what"] == "HTTP")
    url = f"{answers.split()[0]}/api/v1/whoami"
    bearer = {"Authorization": f"Bearer {made['token']}"}
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        answer = await http.get(url, headers=bearer)
        assert (answer.status_code, answer.json()["operatorName"]) == (200, name)
        listed = await running_broker.cli("tokens", "list", "--operator", name)
        used = {one["kind"]: one for one in listed}
        assert used["http"]["label"] == "nightly"
        assert used["http"]["lastUsedAt"] >= used["http"]["createdAt"]
        assert 0 < used["http"]["expiresAt"] - used["http"]["createdAt"] <= 2 * 86400
        shown = await running_broker.run("tokens", "list", "--operator", name)
        assert made["token"] not in shown.out
        assert made["tokenId"] in shown.out
        revoked = await running_broker.run("tokens", "revoke", made["tokenId"])
        assert revoked.out == f"revoked {made['tokenId']}\n"
        assert (await http.get(url, headers=bearer)).status_code == 401
    assert (await running_broker.run("tokens", "revoke", made["tokenId"])).code == 3
    assert (await running_broker.run("tokens", "create", fresh("nobody"))).code == 3


async def test_demo_comes_out_as_planned(tmp_path: Path, running_broker: RunningBroker) -> None:
    """`demo` runs on servers of its own, is over by itself, and its failures are the planned ones."""
    del running_broker  # only so that the two do not start at once
    environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(tmp_path)}
    ended = await run_command(environment, "demo", "--json")
    assert ended.code == 0, ended.err
    seen = json.loads(ended.out)
    assert seen["status"] == "COMPLETED"
    assert seen["failed"] == seen["plannedFailures"] > 0
    assert seen["succeeded"] + seen["failed"] == 25


async def test_demo_of_a_deprovisioning(tmp_path: Path, running_broker: RunningBroker) -> None:
    """`demo --ttn` shows a run from its first to its last device, and each DevEUI is held nowhere afterwards."""
    del running_broker  # only so that the two do not start at once
    environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(tmp_path)}
    ended = await run_command(environment, "demo", "--ttn", "--devices", "12", "--json")
    assert ended.code == 0, ended.err
    seen = json.loads(ended.out)
    assert (seen["status"], seen["released"], seen["failed"], seen["held"]) == (
        "SUCCEEDED",
        12,
        0,
        0,
    )
    assert "RUNNING devices: 12 of 12 devices" in ended.err
    assert (await run_command(environment, "demo", "--devices", "3")).code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_completion_prints_a_script(running_broker: RunningBroker, shell: str) -> None:
    """`completion` prints what the shell is to read."""
    ended = await running_broker.run("completion", shell)
    assert ended.code == 0
    assert "_JOBBROKER_COMPLETE" in ended.out


async def test_a_preview_creates_nothing_and_an_execution_says_when_it_was_told(
    running_broker: RunningBroker,
) -> None:
    """Previewed with the options of `jobs create`, then created; both ways to ask, over MQTT and on the database."""
    thing, job = fresh("seen"), fresh("job")
    await running_broker.run("things", "add", thing)
    options = ("--target", f"thing/{thing}", "--job-id", job, "--per-minute", "5")
    document = ("--document-json", '{"for":"${thingName}","at":"${thing:attributes.site}"}')
    shown = await running_broker.run("jobs", "preview", *options, *document)
    assert shown.code == 0, shown.err
    assert f"{job} would be IN_PROGRESS: 1 thing\nthings: {thing}\ntold: all by " in shown.out
    assert f'document of {thing}: {{"for":"{thing}","at":""}}' in shown.out
    assert "empty in it: ${thing:attributes.site}" in shown.out
    asked = ("--as", running_broker.operator_url, "--json")
    over_mqtt = await running_broker.run("jobs", "preview", *options, *document, *asked)
    found = json.loads(over_mqtt.out)
    assert (found["firstThings"], found["exists"]) == ([thing], False)
    assert (await running_broker.run("jobs", "show", job)).code == 3
    await running_broker.run("jobs", "create", *options, *document)
    executed = ("jobs", "execution", job, thing)

    async def told() -> bool:
        return "NOTIFY_SENT" in (await running_broker.run(*executed)).out

    await eventually(told)
    shown = await running_broker.run(*executed)
    assert f"{job} on {thing}, 1: QUEUED\n" in shown.out
    over_mqtt = await running_broker.run(*executed, *asked)
    assert [one["what"] for one in json.loads(over_mqtt.out)[0]["timeline"]] == [
        "QUEUED",
        "NOTIFY_SENT",
    ]
    unknown = await running_broker.run("jobs", "execution", job, "nobody")
    assert (unknown.code, "'nobody' does not exist" in unknown.err) == (3, True)
    wrong = await running_broker.run(
        "jobs", "preview", *options[:2], "--document-json", '{"a":"${b}"}'
    )
    assert (wrong.code, "document.a: '${b}'" in wrong.err) == (2, True)
