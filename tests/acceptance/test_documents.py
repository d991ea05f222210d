"""Templates, placeholders, presigned URLs and documents from a URL, from the command line to a device and a store."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.acceptance.fake_store import ACCESS_KEY, SECRET_KEY, FakeStore, fake_store
from tests.acceptance.mqtt_probe import Login
from tests.acceptance.running_broker import RunningBroker, running_served
from tests.helpers import PATIENCE
from tests.servers import Choice


@pytest.fixture(scope="module")
async def store() -> AsyncIterator[FakeStore]:
    """A store on loopback."""
    async with fake_store() as made:
        yield made


@pytest.fixture(scope="module")
async def served(
    servers: Choice, store: FakeStore, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningBroker]:
    """A broker that signs for that store and may read documents there."""
    async with running_served(
        servers,
        tmp_path_factory.mktemp("documents"),
        JOBBROKER_S3_ENDPOINT=store.endpoint,
        JOBBROKER_S3_ACCESS_KEY=ACCESS_KEY,
        JOBBROKER_S3_SECRET_KEY=SECRET_KEY,
        JOBBROKER_DOCUMENT_HOSTS=urlsplit(store.endpoint).netloc,
    ) as broker:
        yield broker


async def _document(served: RunningBroker, login: Login) -> dict[str, Any]:
    """The document of the job that a device is given when it asks for the next one."""
    topic = f"$aws/things/{login.username}/jobs/start-next"
    async with served.client(login) as device, asyncio.timeout(PATIENCE):
        await device.subscribe(f"{topic}/accepted", qos=1)
        await device.publish(topic, b"{}", qos=1)
        async for message in device.messages:
            assert isinstance(message.payload, bytes)
            found: dict[str, Any] = json.loads(message.payload)["execution"]["jobDocument"]
            return found
    raise AssertionError("the MQTT server has closed the connection")


async def _http(url: str, *, put: bytes | None = None) -> tuple[int, bytes]:
    """A device's request to the store: status and body."""

    def ask() -> tuple[int, bytes]:
        request = urllib.request.Request(url, data=put, method="GET" if put is None else "PUT")  # noqa: S310 - http on loopback
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - as above
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    return await asyncio.to_thread(ask)


async def test_a_device_fetches_what_a_managed_template_names(
    served: RunningBroker, store: FakeStore
) -> None:
    """The URL in the document lets it through the store's check of signatures; changed a little it does not."""
    store.objects["/firmware/7 b.bin"] = b"the firmware"
    device = await served.add_thing("pump-1")
    url = f"{store.endpoint}/firmware/7%20b.bin"
    made = await served.cli(
        *("jobs", "create", "--target", "thing/pump-1", "--template", "AWS-Download-File"),
        *("--parameter", f"downloadUrl=${{aws:iot:s3-presigned-url-v2:{url}}}"),
        *("--parameter", "filePath=/opt/${thingName}.bin", "--url-seconds", "60"),
        *("--as", served.operator_url),
    )
    assert made["execution_count"] == 1
    [step] = (await _document(served, device))["steps"]
    action = step["action"]
    assert (action["name"], action["input"]["handler"]) == ("Download-File", "download-file.sh")
    signed, path = action["input"]["args"]
    assert path == "/opt/pump-1.bin"
    assert await _http(signed) == (200, b"the firmware")
    assert (await _http(signed.replace("Expires=60", "Expires=3600")))[0] == 403
    assert (await _http(signed.replace("7%20b", "8")))[0] == 403
    assert (await _http(signed, put=b"other"))[0] == 403
    assert (await _http(signed.partition("?")[0]))[0] == 403


async def test_a_device_stores_what_its_own_template_names(
    served: RunningBroker, store: FakeStore
) -> None:
    """A template of one's own, read from the store once; each thing has a place of its own to put its log."""
    upload = f"{store.endpoint}/logs/${{thingName}}/${{jobId}}.txt"
    document = {
        "put": f"${{aws:iot:s3-presigned-url-upload:{upload}}}",
        "of": "${aws:iot:parameter:what}",
    }
    store.pages["/documents/log.json"] = json.dumps(document).encode()
    source = f"{store.endpoint}/documents/log.json"
    await served.cli(
        *("templates", "create", "log", "--description", "Send a log"),
        *("--document-source", source, "--timeout-minutes", "5"),
    )
    device = await served.add_thing("pump-2")
    await served.cli(
        *("jobs", "create", "--target", "thing/pump-2", "--template", "log", "--job-id", "l-1"),
        *("--parameter", "what=syslog"),
    )
    given = await _document(served, device)
    assert given["of"] == "syslog"
    assert (await _http(given["put"], put=b"all is well"))[0] == 200
    assert store.objects["/logs/pump-2/l-1.txt"] == b"all is well"
    shown = await served.cli("jobs", "show", "l-1")
    assert shown["documentSource"] == source
    assert shown["job"]["timeoutConfig"] == {"inProgressTimeoutInMinutes": 5}
    assert [one for one in store.served if "log.json" in one] == ["GET /documents/log.json 200"]


async def test_wrong_sources_and_templates_are_told(
    served: RunningBroker, store: FakeStore
) -> None:
    """A sentence and an exit code: a page that is not there, a host that is not allowed, no such template."""
    target = ("jobs", "create", "--target", "thing/pump-1", "--as", served.operator_url)
    gone = await served.run(*target, "--document-source", f"{store.endpoint}/documents/none.json")
    assert gone.code == 2
    assert "documents/none.json': answered 403" in gone.err
    other = await served.run(*target, "--document-source", "http://127.0.0.2:1/x.json")
    assert other.code == 2
    assert "127.0.0.2:1 is not one of JOBBROKER_DOCUMENT_HOSTS" in other.err
    missing = await served.run(*target, "--template", "none")
    assert (missing.code, "job template 'none' does not exist" in missing.err) == (3, True)


async def test_templates_are_listed_shown_and_deleted(served: RunningBroker) -> None:
    """For people and as JSON; what is gone is not found."""
    document = ("--document-json", '{"a":1}')
    await served.cli("templates", "create", "short", "--description", "Short", *document)
    listed = await served.run("templates", "list")
    assert "short" in listed.out
    managed = await served.cli("templates", "list", "--managed")
    assert len(managed) == 8
    shown = await served.run("templates", "show", "AWS-Download-File")
    assert "downloadUrl" in shown.out
    assert (await served.cli("templates", "show", "short"))["document"] == '{"a":1}'
    again = await served.run("templates", "create", "short", "--description", "Other", *document)
    assert again.code == 4
    assert (await served.run("templates", "delete", "short")).code == 0
    assert (await served.run("templates", "show", "short")).code == 3
