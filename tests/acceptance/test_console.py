"""The console in a real browser, on a real broker with simulated things."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, FilePayload, Page, expect

from broker.mqtt.address import Address
from broker.secret_keys import new_key
from broker.simulator.device import Behaviour
from broker.simulator.fleet import running_fleet
from broker.simulator.things_stack import ThingsStackServer, running_things_stack
from broker.simulator.things_stack.seeding import device, tenant
from handlers.database import create_pool
from tests.acceptance.http_site import HttpSite, http_site
from tests.conftest import clone, mosquittos
from tests.console.barriers import barriers
from tests.console.browser import CHROMIUM, WITHOUT, Reader, chromium, reader, running_console
from tests.factories import add_things
from tests.integration.operator_desk import Desk, aws_job
from tests.ports import reserved_port
from tests.servers import Choice, PostgresServer

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=WITHOUT)

THINGS = [f"pump-{number:03}" for number in range(1, 201)]
PATIENCE = 180_000  # milliseconds
expect.set_options(timeout=PATIENCE)
ANOTHER = "f09f9c1e-6c55-4f0e-9a3b-5a8f6f1f2c11"  # an organization, listed last
PAGES = (
    *("/", "/jobs/looked-at", "/jobs/looked-at?tab=things", "/jobs/looked-at/things/pump-001"),
    *("/new?target=thing/pump-001", "/things/pump-001", "/events", "/system"),
)


@dataclass(frozen=True, slots=True)
class Scene:
    """A broker with two hundred things in a group, a console, a browser, and tokens by role."""

    served: HttpSite
    console: str
    browser: Browser
    desk: Desk
    tokens: dict[str, str]
    stack: ThingsStackServer


@pytest.fixture(scope="module")
async def scene(
    servers: Choice,
    postgres_server: PostgresServer,
    template_database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Scene]:
    """Everything that runs, for all tests here; each has jobs of its own."""
    place = tmp_path_factory.mktemp("console")
    async with (
        clone(postgres_server, template_database) as database,
        mosquittos(servers, place) as start_mosquitto,
        await create_pool(database.url) as pool,
        running_things_stack() as stack,
    ):
        desk = Desk(pool)
        await add_things(pool, *THINGS, "away-1")
        await desk.accepted("groups/create", {"thingGroupName": "pumps"})
        await desk.accepted("groups/add", {"thingGroupName": "pumps", "thingNames": THINGS})
        tokens = {}
        for role in ("viewer", "manager", "admin"):
            made = {"operatorName": f"{role}-1", "role": role}
            tokens[role] = (await desk.accepted("operators/create", made))["token"]
        settings = {
            "JOBBROKER_THINGS_STACK_HOSTS": ",".join(stack.url(name) for name in stack.hosts),
            "JOBBROKER_SECRET_KEY": new_key(),
            # Nobody else's while the API is away.
            "JOBBROKER_HTTP_PORT": str(reserved_port()),
        }
        async with (
            http_site(start_mosquitto, database, place, **settings) as served,
            running_console(served.url, place / "console.log") as console,
            chromium() as browser,
        ):
            yield Scene(served, console.url, browser, desk, tokens, stack)


async def new_job(page: Page, job_id: str) -> None:
    """Make a job for all pumps with the form, in two stages."""
    await page.get_by_role("link", name="New job").click()
    await page.get_by_role("textbox", name="Id").fill(job_id)
    await page.get_by_role("button", name="Add pumps").click()
    first = page.get_by_role("group", name="Stage 1")
    more = page.get_by_role("button", name="Add: stage")
    await more.click()  # a tenth of the things
    await first.get_by_role("spinbutton", name="% that must succeed").wait_for()
    for _ in range(2):  # the rest, and one too many: both are there only after what is typed next
        await more.click()
    await first.get_by_role("spinbutton", name="% that must succeed").fill("50")
    await page.get_by_role("button", name="Take away: stage 3").click()
    await expect(page.get_by_role("group", name="Stage 3")).to_be_hidden()
    await expect(page.get_by_role("group", name="Stage 2")).to_be_visible()
    await expect(first.get_by_role("spinbutton", name="% that must succeed")).to_have_value("50")
    await expect(
        page.get_by_text("the next begins when 50 % of one have succeeded")
    ).to_be_visible()
    await expect(page.get_by_text("It is for 200 things now.")).to_be_visible(timeout=PATIENCE)
    await page.get_by_role("button", name="Create the job").click()
    await expect(page.get_by_role("heading", name=job_id, exact=True)).to_be_visible(
        timeout=PATIENCE
    )


async def test_an_operator_sees_a_job_through(scene: Scene) -> None:
    """A staged job for 200 things is made, watched to its end without a reload, a failure retried, another canceled."""
    address = Address("127.0.0.1", scene.served.site.device_port, tls=False)
    fleet = running_fleet(
        address, dict.fromkeys(THINGS, "any"), Behaviour(fail=0.1, latency=(0.2, 2.0), seed=7)
    )
    async with fleet, reader(scene.browser, scene.console, scene.tokens["manager"]) as found:
        page = found.page
        await new_job(page, "fw-7")
        await page.evaluate("window.sameDocument = true")
        await expect(page.get_by_text("200 of 200 things ended")).to_be_visible(timeout=PATIENCE)
        await expect(page.locator(".jb-status.st-COMPLETED")).to_be_visible(timeout=PATIENCE)
        assert await page.evaluate("window.sameDocument")
        counts = await scene.desk.counts("fw-7")
        assert sum(counts.values()) == 200
        await expect(page.get_by_text("Stage 2", exact=True)).to_be_visible()
        cells = page.get_by_role("img", name="200 things by name, coloured by status")
        await cells.hover(position={"x": 4, "y": 4})
        await expect(cells).to_have_attribute("title", re.compile("^pump-001: "), timeout=PATIENCE)
        await retry_a_failure(page, scene, counts["Failed"])
        await retry_all_failures(found, scene, counts["Failed"])
        await cancel_another(found, scene)
        assert found.complaints == []
        assert found.hosts <= {
            scene.console.rstrip("/"),
            scene.console.rstrip("/").replace("http", "ws", 1),
        }


async def retry_a_failure(page: Page, scene: Scene, failed: int) -> None:
    """Open one of the things that failed, by the job's table, and send it the job again."""
    await page.get_by_role("tab", name="Things").click()
    await page.get_by_role("button", name="Failed", exact=True).click()
    rows = page.locator("tr a[data-row]:visible")
    await expect(rows).to_have_count(min(failed, 50), timeout=PATIENCE)
    thing = await rows.first.inner_text()
    await rows.first.click()
    await expect(page.get_by_role("heading", name=f"fw-7 on {thing}")).to_be_visible(
        timeout=PATIENCE
    )
    await page.get_by_role("button", name="Retry").click()
    await expect(page.get_by_role("heading", name="fw-7-retry")).to_be_visible(timeout=PATIENCE)
    again = await page.locator("h1").inner_text()
    assert (await scene.desk.job(again))["targets"][0].endswith(f":thing/{thing}")


async def retry_all_failures(found: Reader, scene: Scene, failed: int) -> None:
    """What failed is sent again as one job, by the page of failures, and followed there."""
    page = found.page
    await found.open("/failures?job=fw-7")
    await expect(page.get_by_text(f"{failed} failures of 1 job")).to_be_visible()
    await page.get_by_role("checkbox", name="Select all that match").click()
    await expect(page.get_by_text(f"{failed} failures of 1 job chosen")).to_be_visible()
    await page.get_by_role("button", name="Try again").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_text("failures/retry")).to_be_visible()
    await dialog.get_by_role("button", name="Try again").click()
    followed = page.get_by_text(f"of {failed} things ended, in 1 job")
    await expect(followed).to_be_visible(timeout=PATIENCE)
    again = page.url.rpartition("=")[2]
    assert (await scene.desk.job(again))["executionCount"] == failed
    asked = {"jobId": "fw-7"}
    assert (await scene.desk.accepted("failures/list", asked))["failures"] == []


async def cancel_another(found: Reader, scene: Scene) -> None:
    """Cancel a job that waits for a thing that is away; its name has to be typed first."""
    page = found.page
    await scene.desk.accepted("jobs/create", aws_job("away-1", jobId="forlorn"))
    await found.open("/?status=IN_PROGRESS")
    await page.get_by_role("link", name="forlorn").click()
    await page.get_by_role("button", name="Cancel").click()
    dialog = page.get_by_role("dialog")
    go = dialog.get_by_role("button", name="Cancel the job")
    await expect(go).to_be_disabled()
    await expect(dialog.get_by_text("jobs/cancel")).to_be_visible()
    await dialog.get_by_role("textbox").fill("forlorn")
    await go.click()
    await expect(page.locator(".jb-status.st-CANCELED").first).to_be_visible(timeout=PATIENCE)
    assert (await scene.desk.job("forlorn"))["status"] == "CANCELED"
    await page.get_by_role("tab", name="Events").click()
    await expect(page.get_by_role("log").get_by_text("away-1")).to_be_visible(timeout=PATIENCE)


async def test_things_groups_and_many_jobs_are_seen_to(scene: Scene) -> None:
    """An admin makes a thing and a group by their dialogs, sees to both, and handles several jobs at once."""
    async with reader(scene.browser, scene.console, scene.tokens["admin"]) as found:
        await see_to_a_thing(found)
        await see_to_a_group(found, scene)
        await approve_a_job(found, scene)
        await handle_jobs_at_once(found, scene)
        assert found.complaints == []


async def see_to_a_thing(found: Reader) -> None:
    """It is made with a token, has its attributes changed, another token, is locked out, and removed."""
    page = found.page
    dialog = page.get_by_role("dialog")
    await found.open("/things?name=fan-")
    await expect(page.get_by_text("No thing is like this")).to_be_visible()
    await page.get_by_role("button", name="New thing").click()
    await dialog.get_by_role("textbox", name="Name", exact=True).fill("fan-1")
    await dialog.get_by_label("Attributes").fill("site=roof")
    await dialog.get_by_role("button", name="Create").click()
    await page.get_by_role("button", name="I have it").click()
    await page.get_by_role("link", name="fan-1").click()
    await page.get_by_role("button", name="Attributes").click()
    await dialog.get_by_label("name=value").fill("site=yard")
    await dialog.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("yard")).to_be_visible()
    await page.get_by_role("button", name="Issue a token").click()
    await dialog.get_by_role("button", name="Issue it").click()
    await page.get_by_role("button", name="I have it").click()
    await page.get_by_role("button", name="Revoke all").click()
    await dialog.get_by_role("textbox").fill("fan-1")
    await dialog.get_by_role("button", name="Revoke all").click()
    await expect(page.locator(".jb-status.st-SUCCEEDED")).to_have_count(0)
    await page.get_by_role("button", name="Remove").click()
    await dialog.get_by_role("textbox").fill("fan-1")
    await dialog.get_by_role("button", name="Remove it").click()
    await expect(page.get_by_role("heading", name="Things")).to_be_visible()


async def see_to_a_group(found: Reader, scene: Scene) -> None:
    """A query shows what it fits before the group is made; a static group has things put in and taken out."""
    page = found.page
    dialog = page.get_by_role("dialog")
    await found.open("/groups")
    await page.get_by_role("button", name="New group").click()
    await dialog.get_by_role("textbox", name="Name", exact=True).fill("tens")
    await dialog.get_by_label("Query").fill("thingName:pump-01*")
    await expect(dialog.get_by_text("Fits now: pump-010, pump-011")).to_be_visible()
    await dialog.get_by_role("button", name="Create").click()
    await page.get_by_role("link", name="tens").click()
    await page.get_by_role("button", name="Query").click()
    await dialog.get_by_role("textbox").fill("thingName:pump-02*")
    await expect(dialog.get_by_text("Fits now: pump-020, pump-021")).to_be_visible()
    await dialog.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("link", name="pump-020")).to_be_visible()
    await scene.desk.accepted("groups/create", {"thingGroupName": "few"})
    await found.open("/groups/few")
    await page.get_by_role("button", name="Add things").click()
    await dialog.get_by_role("textbox").fill("pump-001\npump-002")
    await dialog.get_by_role("button", name="Add").click()
    await expect(page.get_by_role("link", name="pump-002")).to_be_visible()
    await page.get_by_role("button", name="Take out").click()
    await dialog.get_by_role("textbox").fill("pump-002")
    await dialog.get_by_role("button", name="Take out").click()
    await expect(page.get_by_role("link", name="pump-002")).to_have_count(0)
    await page.get_by_role("button", name="Delete").click()
    await dialog.get_by_role("textbox").fill("few")
    await dialog.get_by_role("button", name="Delete it").click()
    await expect(page.get_by_role("heading", name="Groups")).to_be_visible()


async def approve_a_job(found: Reader, scene: Scene) -> None:
    """One that waits for another role's yes goes on by it, and is canceled by a no."""
    page = found.page
    for job_id in ("asked", "unwanted"):
        job = aws_job("away-1", jobId=job_id)
        job |= {"approvalConfig": {"requiredApprovals": 1}}
        await scene.desk.accepted("jobs/create", job)
    await found.open("/jobs/unwanted")
    await page.get_by_role("button", name="Deny").click()
    await page.get_by_role("dialog").get_by_role("button", name="Deny it").click()
    await expect(page.locator(".jb-status.st-CANCELED").first).to_be_visible()
    await found.open("/jobs/asked")
    await page.get_by_role("button", name="Approve").click()
    await expect(page.get_by_text("admin-1 (admin): approve")).to_be_visible()
    await expect(page.get_by_role("button", name="Deny")).to_have_count(0)


async def handle_jobs_at_once(found: Reader, scene: Scene) -> None:
    """Jobs are found by a tag that stands in the URL; what is done to them says what it touches, and is typed."""
    page = found.page
    tags = [{"Key": "team", "Value": "many"}]
    for job_id in ("many-1", "many-2"):
        await scene.desk.accepted("jobs/create", aws_job("away-1", jobId=job_id, tags=tags))
    await found.open("/?tag=team%3Dmany")
    await expect(page.locator("tr a[data-row]")).to_have_count(2)
    dialog = page.get_by_role("dialog")
    for label, typed in (
        ("Pause", ""),
        ("Resume", ""),
        ("Cancel", "cancel 2"),
        ("Delete", "delete 2"),
    ):
        await page.get_by_role("checkbox", name="Choose all").click()
        await expect(page.get_by_text("2 jobs chosen, 2 executions")).to_be_visible()
        await page.locator(".jb-bulk").get_by_role("button", name=label).click()
        await expect(dialog.get_by_text(f"{label} 2 jobs?")).to_be_visible()
        if typed:
            await dialog.get_by_role("textbox").fill(typed)
        if label == "Cancel":
            await dialog.get_by_role("checkbox", name="force").click()
        await dialog.get_by_role("button", name=label).click()
        await expect(dialog).to_be_hidden()
        await expect(page.get_by_text("2 jobs chosen")).to_be_hidden()
    await expect(page.get_by_text("No job is like this")).to_be_visible(timeout=PATIENCE)


async def test_a_deprovisioning_runs_to_its_end(scene: Scene) -> None:
    """The Things Stack is connected, devices come in by a file, and all go again; another connection is cleaned."""
    there = tenant(scene.stack.stack, devices=12)
    async with reader(scene.browser, scene.console, scene.tokens["admin"], dark=True) as found:
        page = found.page
        await found.open("/things-stack")
        await page.get_by_role("button", name="Connect").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("API key").fill(there.user_key)
        await dialog.get_by_label("Identity server").fill(scene.stack.identity.address)
        await dialog.get_by_label("Application that").fill(there.application.id)
        await dialog.get_by_label("Organization that").fill(there.organization.id)
        assert await barriers(page) == []
        await dialog.get_by_role("button", name="Connect").click()
        await expect(page.get_by_text("idle", exact=True).first).to_be_visible(timeout=PATIENCE)
        assert there.user_key not in await page.content()
        await provision(page)
        await import_devices(page)
        await run_to_its_end(page, "Deprovision")
        await expect(page.get_by_text("purge device").first).to_be_visible()
        assert not scene.stack.stack.identity_devices.devices
        await clean_another(found, scene)
        await found.open("/system")
        slots = page.get_by_role("region", name="Slots and who holds them")
        await expect(slots.get_by_role("cell", name="yes")).to_be_visible(timeout=PATIENCE)
        tables = page.get_by_role("region", name="The largest tables")
        await expect(tables.get_by_role("cell", name="MB").first).to_be_visible()
        assert await barriers(page) == []
        assert found.complaints == []


async def provision(page: Page) -> None:
    """It is asked before it begins; before all is forgotten, too, and no is no."""
    dialog = page.get_by_role("dialog")
    await page.get_by_role("button", name="Provision", exact=True).click()
    await expect(dialog.get_by_text("ttn/provision")).to_be_visible()
    assert await barriers(page) == []
    await dialog.get_by_role("button", name="Provision").click()
    await expect(page.locator(".jb-head .jb-status.st-SUCCEEDED")).to_be_visible()
    await page.get_by_role("button", name="Start fresh").click()
    await expect(dialog.get_by_role("button", name="Forget them")).to_be_disabled()
    assert await barriers(page) == []
    await dialog.get_by_role("button", name="No").click()
    await expect(dialog).to_be_hidden()


async def run_to_its_end(page: Page, label: str) -> None:
    """Ask for a run that changes something, and watch it step by step."""
    await page.get_by_role("button", name=label, exact=True).click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_role("button", name=label)).to_be_disabled()
    await dialog.get_by_role("checkbox", name="Only look").click()
    await dialog.get_by_role("textbox", name="Type").fill(label.lower())
    assert await barriers(page) == []
    await dialog.get_by_role("button", name=label).click()
    await expect(page.get_by_role("heading", name="Deprovisioning run")).to_be_visible()
    await expect(page.locator(".jb-head .jb-status.st-SUCCEEDED")).to_be_visible()


async def clean_another(found: Reader, scene: Scene) -> None:
    """Of two connections the second is chosen by its name, and all that its key's owner has there is taken away."""
    page, there = found.page, scene.stack.stack
    other = tenant(there, "roof")
    device(there, (other.application.id, "roof-1"), "70B3D57ED0AAAAAA")
    async with httpx.AsyncClient(base_url=f"{scene.served.url}/api/v1") as http:
        connection = {
            "organization_id": ANOTHER,
            "organization_name": "Roofs",
            "api_key": other.user_key,
            "identity_host": scene.stack.identity.address,
            "ttn_organization_id": other.organization.id,
            "application_id": other.application.id,
        }
        bearer = {"Authorization": f"Bearer {scene.tokens['admin']}"}
        answer = await http.put("/ttn/credentials", json=connection, headers=bearer)
        assert answer.is_success, answer.text
    await found.open("/things-stack")
    choose = page.get_by_role("group", name="Connections").get_by_role("button", name="Roofs")
    await expect(choose).to_have_attribute("aria-pressed", "false")
    await choose.click()
    await expect(choose).to_have_attribute("aria-pressed", "true")
    await expect(page).to_have_url(re.compile(rf"\?organization={ANOTHER}$"))
    assert await barriers(page) == []
    await run_to_its_end(page, "Deep clean")
    assert not there.identity_devices.devices


async def import_devices(page: Page) -> None:
    """Of a file each line has its result: what is no device is not sent, the rest is registered."""
    await page.get_by_role("button", name="Import").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_role("button", name="Register")).to_be_disabled()
    key = "A1B2C3D4E5F60718293A4B5C6D7E8F90"
    lines = ["device_id,dev_eui,app_key", f"in-1,70B3D57ED0BBBB01,{key}"]
    lines += [f"in-2,70B3D57ED0BBBB02,{key}", "Pump 1,70B3D57ED0000001,no-key"]
    content = "\n".join(lines).encode()
    file = FilePayload(name="fleet.csv", mimeType="text/csv", buffer=content)
    await dialog.locator("input[type=file]").set_input_files(file)
    await expect(dialog.get_by_text("fleet.csv: ")).to_be_visible(timeout=PATIENCE)
    assert await barriers(page) == []
    await dialog.get_by_role("button", name="Register").click()
    results = page.get_by_role("region", name="Lines of the import")
    await expect(results.get_by_text("Not sent")).to_have_count(1)
    await expect(results.get_by_text("Ok", exact=True)).to_have_count(2)
    devices = page.get_by_role("region", name="Devices at The Things Stack")
    await expect(devices.get_by_text("in-2")).to_be_visible()
    said = await page.content()
    assert "no-key" not in said
    assert key not in said


async def test_a_viewer_looks_and_changes_nothing(scene: Scene, tmp_path: Path) -> None:
    """Nothing of what a viewer may not do is offered or possible; axe finds nothing serious; nobody else gets in."""
    await scene.desk.accepted("jobs/create", aws_job("pump-001", "away-1", jobId="looked-at"))
    async with reader(scene.browser, scene.console, scene.tokens["viewer"]) as found:
        page = found.page
        await expect(page.get_by_role("link", name="New job")).to_have_count(0)
        await found.open("/jobs/looked-at")
        cancel = page.get_by_role("button", name="Cancel")
        await expect(cancel).to_be_disabled()
        assert "needs the role manager" in (await cancel.get_attribute("title") or "")
        await check_axe(found)
        cookies = {str(one.get("name")): one for one in await found.context.cookies()}
        assert cookies["jobbroker_console"].get("httpOnly")
        assert cookies["jobbroker_console"].get("sameSite") == "Lax"
        value = str(cookies["jobbroker_console"].get("value"))
    await check_headers(scene, value)
    options = ("--read-only", "--prefix", "/fleet")
    async with (
        running_console(scene.served.url, tmp_path / "fleet.log", *options) as fleet,
        reader(scene.browser, fleet.url, scene.tokens["admin"]) as found,
    ):
        assert fleet.url.endswith("/fleet/")
        await expect(found.page.get_by_text("read-only")).to_be_visible()
        await found.page.get_by_role("link", name="looked-at").click()
        await expect(found.page.get_by_role("button", name="Cancel")).to_be_disabled()
        assert found.complaints == []


async def check_axe(found: Reader) -> None:
    """Pages of every kind are looked through for what keeps people out."""
    serious: list[str] = []
    for path in PAGES:
        await found.open(path)
        serious += [f"{path}: {one}" for one in await barriers(found.page)]
    assert serious == []


async def check_headers(scene: Scene, cookie: str) -> None:
    """Pages have their headers; other sites, and who is not signed in, are sent away."""
    async with httpx.AsyncClient(base_url=scene.console, timeout=PATIENCE / 1000) as http:
        nobody = await http.get("/jobs/fw-7")
        assert nobody.status_code == 303
        assert nobody.headers["location"] == "/sign-in?next=%2Fjobs%2Ffw-7"
        page = await http.get("/", headers={"cookie": f"jobbroker_console={cookie}"})
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "'unsafe-inline'" not in policy.split("style-src")[0]
        assert "frame-ancestors 'none'" in policy
        foreign = {"origin": "http://evil.example"}
        refused = await http.post("/sign-in", data={"token": "x"}, headers=foreign)
        assert refused.status_code == 403
        wrong = await http.post("/sign-in", data={"token": "nobody-has-this"})
        assert wrong.status_code == 401
        assert "no operator has this token" in wrong.text
        forged = await http.get("/", headers={"cookie": f"jobbroker_console={cookie[:-4]}AAAA"})
        assert forged.status_code == 303


async def test_a_lost_api_is_shown_and_heals(scene: Scene) -> None:
    """While the API is away pages say so and keep what they have; they go on when it is back.

    Who is removed while a page is open is sent to the door; who signs out, too.
    """
    await scene.desk.accepted("jobs/create", aws_job("away-1", jobId="j1"))
    made = {"operatorName": "briefly", "role": "viewer"}
    token = (await scene.desk.accepted("operators/create", made))["token"]
    async with (
        reader(scene.browser, scene.console, token) as other,
        reader(scene.browser, scene.console, scene.tokens["manager"]) as found,
    ):
        await other.open("/events")  # nothing is asked for there
        await scene.desk.accepted("operators/delete", {"operatorName": "briefly"})
        page = found.page
        await expect(page.get_by_role("link", name="j1")).to_be_visible()
        await scene.served.broker.stop()
        banner = page.get_by_text("does not answer")
        await expect(banner).to_be_visible(timeout=PATIENCE)
        await expect(page.get_by_role("link", name="j1")).to_be_visible()
        port = scene.served.url.rpartition(":")[2]
        await scene.served.site.start(settings={"JOBBROKER_HTTP_PORT": port})
        await expect(banner).to_be_hidden(timeout=PATIENCE)
        await scene.desk.accepted("jobs/create", aws_job("away-1", jobId="j2"))
        await expect(page.get_by_role("link", name="j2")).to_be_visible(timeout=PATIENCE)
        await expect(other.page.get_by_label("Operator token")).to_be_visible()
        await sign_out(found)


async def sign_out(found: Reader) -> None:
    """It ends what the browser has."""
    page = found.page
    await page.get_by_role("button", name="Signed in as").click()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_label("Operator token")).to_be_visible()
    await page.goto(found.console)
    await expect(page.get_by_label("Operator token")).to_be_visible()
