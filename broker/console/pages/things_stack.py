"""The Things Stack: where provisioning stands, credentials that are hidden until asked for, devices on record."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from nicegui import ui

from broker.console.api import ApiError, Body, sent_as
from broker.console.components import (
    Moment,
    code_block,
    command_button,
    empty,
    facts,
    fill,
    heading,
    section,
    send,
    status_chip,
    table,
    tag,
    words,
)
from broker.console.dialogs import confirmed
from broker.console.links import with_query
from broker.console.pages.stack_dialogs import (
    Given,
    ask_connection,
    ask_deep_clean,
    ask_deprovision,
)
from broker.console.pages.stack_import import DeviceImport
from broker.console.pages.stack_runs import Runs
from broker.console.viewer import Live, Viewer

_STATES: Final = {"ready": "SUCCEEDED", "provisioning": "IN_PROGRESS", "failed": "FAILED"}
_COLUMNS: Final = (
    {"name": "device", "label": "Device", "field": "device"},
    {"name": "more", "label": "Registered", "field": "more"},
)
_SECRETS: Final = (
    "main_api_key",
    "app_api_secret",
    "org_api_secret",
    "gateway_api_secret",
    "webhook_secret",
)
_SHOWN_APART: Final = frozenset(
    {"steps_done", "provisioning_step", "provisioning_status", "credentials"}
)
_KEPT: Final = {"decrypted": "kept", "empty": "none"}
_MOMENTS: Final = ("_at",)
_CONNECTIONS: Final = 50


async def show(viewer: Viewer, query: Mapping[str, str]) -> None:
    """Build the page; the query has `organization`, whose connection it is."""
    page = _Stack(viewer, query.get("organization"))
    page.build()
    await page.refresh()
    page.read_again = Live(viewer, page.refresh).now


class _Stack:
    def __init__(self, viewer: Viewer, organization: str | None) -> None:
        self.viewer = viewer
        self.organization = organization
        self.read_again = self.refresh
        self._shown: object = None
        self._listed: object = None

    def build(self) -> None:
        """The frame of the page."""
        self._build_head()
        self.connections = tag("div", "jb-tabs", role="group", aria_label="Connections")
        with tag("div", "jb-grid"):
            self._build_state()
        self.runs = Runs(self.viewer)
        self._build_devices()

    def _build_head(self) -> None:
        """The heading and what can be done."""
        actions = (
            ("Connect", "ttn/credentials/set", self._connect, "link"),
            ("Provision", "ttn/provision", self._provision, "play_arrow"),
            ("Deprovision", "ttn/deprovision", self._deprovision, "delete_sweep"),
            ("Deep clean", "ttn/deep-clean", self._deep_clean, "cleaning_services"),
            ("Start fresh", "ttn/start-fresh", self._start_fresh, "restart_alt"),
        )
        with tag("div", "jb-head"):
            heading("The Things Stack").classes("jb-grow")
            self.chip = tag("div")
            for label, verb, act, icon in actions:
                command_button(self.viewer, label, verb, act, icon=icon)

    def _build_state(self) -> None:
        """Where provisioning stands, and the credentials."""
        with tag("div", "jb-card"):
            section("Provisioning")
            self.state = tag("div")
        with tag("div", "jb-card"):
            with tag("div", "jb-row"):
                section("Credentials").classes("jb-grow")
                command_button(
                    self.viewer, "Show", "ttn/credentials/get", self._reveal, icon="visibility"
                )
            self.secrets = tag("div")
            self._hide()
            self.kept = tag("div", style="margin-top:8px")

    def _build_devices(self) -> None:
        """The devices on record, and their import."""
        with tag("div", "jb-head", style="margin-top:18px"):
            section("Devices on our record").classes("jb-grow")
            command_button(
                self.viewer, "Import", "ttn/devices/register", self._import, icon="upload_file"
            )
        self.table = table(_COLUMNS, key="device", label="Devices at The Things Stack")
        self.nothing = tag("div")
        with self.nothing:
            empty("No devices", "Import registers those of a file.")
        self.devices = DeviceImport(self.viewer, lambda: self.organization)

    async def refresh(self) -> None:
        """Read the state and the devices again."""
        await self._show_connections()
        meant = {"organization_id": self.organization}
        try:
            body = await self.viewer.look("ttn/status", **meant)
            listed = await self.viewer.look("ttn/devices/list", limit=100, **meant)
        except ApiError as error:
            if error.status in {0, 503}:
                raise
            unknown = error.code == "ResourceNotFound"
            problem = "Not connected yet." if unknown else error.message
            body, listed = {"problem": problem}, {"devices": []}
        await self.runs.refresh()
        rows = [_row(one) for one in listed.get("devices", [])]
        fill(self.table, rows)
        self.nothing.set_visibility(not rows)
        body = {name: value for name, value in body.items() if name != "timestamp"}
        if body != self._shown:
            self._shown = body
            self._show_state(body)
        await self.devices.follow()

    async def _show_connections(self) -> None:
        """One to choose for each organization, where there are several; the first is meant until one is chosen."""
        body = await self.viewer.look("ttn/connections", limit=_CONNECTIONS)
        found = body["connections"]
        known = [one["organization_id"] for one in found]
        if self.organization not in known:
            self._look_at(known[0] if known else None)
        if (found, self.organization) == self._listed:
            return
        self._listed = (found, self.organization)
        self.connections.clear()
        self.connections.set_visibility(len(found) > 1)
        with self.connections:
            for one in found if len(found) > 1 else []:
                organization = one["organization_id"]
                chosen = "true" if organization == self.organization else "false"
                button = tag(
                    "button", "jb-tab", type="button", aria_pressed=chosen, title=organization
                )
                button.on("click", partial(self._choose, organization))
                with button:
                    words(one.get("organization_name") or organization[:8])
                    words(one["provisioning_status"], "jb-count")

    async def _choose(self, organization: str) -> None:
        self._look_at(organization)
        place = with_query("/things-stack", {"organization": organization})
        ui.navigate.history.replace(self.viewer.link(place))
        await self.read_again()

    def _look_at(self, organization: str | None) -> None:
        if organization != self.organization:
            self.organization = organization
            self._hide()

    def _hide(self) -> None:
        self.secrets.clear()
        with self.secrets:
            words("Hidden; each reading is in the audit log.", "jb-quiet")

    def _show_state(self, body: Mapping[str, Any]) -> None:
        for place in (self.chip, self.state, self.kept):
            place.clear()
        state = str(body.get("provisioning_status", ""))
        with self.chip:
            if state:
                status_chip(_STATES.get(state, "QUEUED")).say(state)
        with self.state:
            if "problem" in body:
                words(str(body["problem"]), as_="p")
                words("Connect brings in an API key of the server.", "jb-quiet", as_="p")
                return
            done = body.get("steps_done", [])
            with tag("ol", "jb-timeline"):
                for step in done:
                    words(_plain(step), as_="li")
                if body.get("provisioning_step"):
                    words(_plain(body["provisioning_step"]), "jb-later", as_="li")
            rest = {name: value for name, value in body.items() if name not in _SHOWN_APART}
            facts(
                self.viewer, [(_plain(name), _shown(name, value)) for name, value in rest.items()]
            )

        kept = body.get("credentials") or {}
        with self.kept:
            facts(
                self.viewer,
                [(_plain(name), _KEPT.get(state, state)) for name, state in kept.items()],
            )

    async def _reveal(self) -> None:
        asked = self.organization
        body = await self._send("ttn/credentials/get")
        if body is None or asked != self.organization:
            return
        self.secrets.clear()
        with self.secrets:
            for name in _SECRETS:
                state = body.get(f"{name}_status", "empty")
                words(
                    f"{_plain(name)}: {'shown' if state == 'decrypted' else state}",
                    "jb-quiet",
                    as_="p",
                )
                if body.get(name):
                    code_block(str(body[name]), _plain(name))

    async def _send(self, verb: str, done: str = "", given: Given | None = None) -> Body | None:
        """Send a command about the connection that is looked at."""
        named = {"organization_id": self.organization, **(given or {})}
        return await send(self.viewer, verb, done, **named)

    async def _connect(self) -> None:
        given = await ask_connection()
        if given is not None:
            given["organization_id"] = given["organization_id"] or self.organization
            await send(self.viewer, "ttn/credentials/set", "Connected", **given)
            await self.read_again()

    async def _provision(self) -> None:
        sends = sent_as("ttn/provision", {})
        consequence = "What is missing at the server is made, step by step; what is there is kept."
        if await confirmed("Provision?", consequence, sends, label="Provision"):
            await self._send("ttn/provision", "Under way")
            await self.read_again()

    async def _deprovision(self) -> None:
        await self._run("ttn/deprovision", await ask_deprovision())

    async def _deep_clean(self) -> None:
        await self._run("ttn/deep-clean", await ask_deep_clean())

    async def _run(self, verb: str, given: Given | None) -> None:
        """Begin a run and show it."""
        body = None if given is None else await self._send(verb, given=given)
        if body is not None:
            ui.navigate.to(f"/things-stack/runs/{body['job_id']}")

    async def _import(self) -> None:
        await self.devices.ask()

    async def _start_fresh(self) -> None:
        sends = sent_as("ttn/start-fresh", {})
        consequence = "Credentials that were made, and the steps done, are forgotten here; the server keeps its own."
        if await confirmed(
            "Start fresh?", consequence, sends, typed="start fresh", label="Forget them"
        ):
            await self._send("ttn/start-fresh", "Forgotten")
            await self.read_again()


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _shown(name: str, value: object) -> object:
    if name.endswith(_MOMENTS) and isinstance(value, int | float):
        return Moment(value)
    if isinstance(value, bool):
        return "yes" if value else None
    return value


def _row(one: Mapping[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in one.items() if name != "device_id" and value}
    said = ", ".join(f"{_plain(name)}: {value}" for name, value in rest.items())
    return {"device": one["device_id"], "more": said}
