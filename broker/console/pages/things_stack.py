"""The Things Stack: where provisioning stands, credentials that are hidden until asked for, devices on record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nicegui import ui

from broker.console.api import ApiError, sent_as
from broker.console.components import (
    Moment,
    code_block,
    command_button,
    empty,
    facts,
    heading,
    section,
    send,
    status_chip,
    table,
    tag,
    words,
)
from broker.console.dialogs import confirmed
from broker.console.pages.stack_run import STATES, epoch
from broker.console.viewer import Live, Viewer

_STATES: Final = {"ready": "SUCCEEDED", "provisioning": "IN_PROGRESS", "failed": "FAILED"}
_COLUMNS: Final = (
    {"name": "device", "label": "Device", "field": "device"},
    {"name": "more", "label": "Registered", "field": "more"},
)
_RUNS: Final = (
    {"name": "run", "label": "Run", "field": "what"},
    {"name": "status", "label": "Status", "field": "status"},
    {"name": "created", "label": "Created", "field": "created"},
)
_RUN: Final = r"""
<q-tr :props="props">
  <q-td class="jb-block"><a data-row :href="props.row.href">{{ props.row.what }}{{ props.row.dry }}</a>
    <span class="jb-sub">{{ props.row.target }}</span></q-td>
  <q-td><span :class="'jb-status st-' + props.row.colour">{{ props.row.status }}</span></q-td>
  <q-td><time :title="props.row.created_utc">{{ props.row.created }}</time></q-td>
</q-tr>
"""
_SECRETS: Final = (
    "main_api_key",
    "app_api_secret",
    "org_api_secret",
    "gateway_api_secret",
    "webhook_secret",
)
_MOMENTS: Final = ("_at",)


async def show(viewer: Viewer) -> None:
    """Build the page."""
    page = _Stack(viewer)
    page.build()
    await page.refresh()
    Live(viewer, page.refresh)


class _Stack:
    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self._shown: object = None

    def build(self) -> None:
        """The frame of the page."""
        viewer = self.viewer
        with tag("div", "jb-head"):
            heading("The Things Stack").classes("jb-grow")
            self.chip = tag("div")
            command_button(viewer, "Connect", "ttn/credentials/set", self._connect, icon="link")
            command_button(viewer, "Provision", "ttn/provision", self._provision, icon="play_arrow")
            command_button(
                viewer, "Deprovision", "ttn/deprovision", self._deprovision, icon="delete_sweep"
            )
            command_button(
                viewer, "Start fresh", "ttn/start-fresh", self._start_fresh, icon="restart_alt"
            )
        with tag("div", "jb-grid"):
            with tag("div", "jb-card"):
                section("Provisioning")
                self.state = tag("div")
            with tag("div", "jb-card"):
                with tag("div", "jb-row"):
                    section("Credentials").classes("jb-grow")
                    command_button(
                        viewer, "Show", "ttn/credentials/get", self._reveal, icon="visibility"
                    )
                self.secrets = tag("div")
                with self.secrets:
                    words("Hidden; each reading is in the audit log.", "jb-quiet")
        with tag("div", "jb-head", style="margin-top:18px"):
            section("Deprovisioning runs")
        self.runs = table(_RUNS, key="run", label="Deprovisioning runs")
        self.runs.add_slot("body", _RUN)
        self.no_runs = words("None yet.", "jb-quiet", as_="p")
        with tag("div", "jb-head", style="margin-top:18px"):
            section("Devices on our record")
        self.table = table(_COLUMNS, key="device", label="Devices at The Things Stack")
        self.nothing = tag("div")
        with self.nothing:
            empty("No devices", "jobbroker ttn devices import fleet.csv registers them.")

    async def refresh(self) -> None:
        """Read the state and the devices again."""
        try:
            body = await self.viewer.call("ttn/status")
            listed = await self.viewer.call("ttn/devices/list", limit=100)
        except ApiError as error:
            if error.status in {0, 503}:
                raise
            unknown = error.code == "ResourceNotFound"
            problem = "Not connected yet." if unknown else error.message
            body, listed = {"problem": problem}, {"devices": []}
        runs = await self.viewer.call("ttn/runs/list", limit=20)
        self._show_runs(runs["jobs"])
        rows = [_row(one) for one in listed.get("devices", [])]
        if rows != self.table.rows:
            self.table.rows = rows
        self.table.set_visibility(bool(rows))
        self.nothing.set_visibility(not rows)
        body.pop("timestamp", None)
        if body != self._shown:
            self._shown = body
            self._show_state(body)

    def _show_runs(self, runs: list[dict[str, Any]]) -> None:
        rows = []
        for one in runs:
            both = self.viewer.both(epoch(one["created_at"]))
            rows.append(
                {
                    "run": one["id"],
                    "href": self.viewer.link(f"/things-stack/runs/{one['id']}"),
                    "what": str(one.get("action", "")).replace("_", " "),
                    "target": " ".join(
                        str(one[name])
                        for name in ("ttn_application_id", "device_id")
                        if one.get(name)
                    ),
                    "dry": ", looks only" if one.get("dry_run") else "",
                    "status": str(one["status"]).capitalize(),
                    "colour": STATES.get(one["status"], "QUEUED"),
                    "created": both["text"],
                    "created_utc": both["utc"],
                }
            )
        if rows != self.runs.rows:
            self.runs.rows = rows
        self.runs.set_visibility(bool(rows))
        self.no_runs.set_visibility(not rows)

    def _show_state(self, body: Mapping[str, Any]) -> None:
        self.chip.clear()
        self.state.clear()
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
            rest = {
                name: value
                for name, value in body.items()
                if name not in {"steps_done", "provisioning_step", "provisioning_status"}
            }
            facts(
                self.viewer, [(_plain(name), _shown(name, value)) for name, value in rest.items()]
            )

    async def _reveal(self) -> None:
        body = await send(self.viewer, "ttn/credentials/get")
        if body is None:
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

    async def _connect(self) -> None:
        with ui.dialog() as dialog, ui.card().classes("jb-dialog"):
            words("Connect to The Things Stack", "jb-h2", as_="h2")
            key = ui.input("API key", password=True).props(
                "outlined dense autofocus autocomplete=off"
            )
            region = ui.input("Region, such as eu1; or leave it and name hosts").props(
                "outlined dense"
            )
            identity = ui.input("Identity server, HOST[:PORT]").props("outlined dense")
            regional = ui.input("Regional servers, if other").props("outlined dense")
            application = ui.input("Application that is there already").props("outlined dense")
            there = ui.input("Organization that is there already").props("outlined dense")
            name = ui.input("Name of the organization").props("outlined dense")
            words(sent_as("ttn/credentials/set", {}), "jb-quiet jb-mono", as_="p")
            with ui.row().classes("jb-buttons"):
                ui.button("Close", on_click=lambda: dialog.submit("")).props("no-caps flat")
                ui.button("Connect", on_click=lambda: dialog.submit("yes")).props(
                    "no-caps unelevated"
                )
        wanted = await dialog
        dialog.delete()
        if wanted:
            await send(
                self.viewer,
                "ttn/credentials/set",
                "Connected",
                api_key=key.value or None,
                region=region.value or None,
                identity_host=identity.value or None,
                regional_host=regional.value or None,
                application_id=application.value or None,
                ttn_organization_id=there.value or None,
                organization_name=name.value or None,
            )
            await self.refresh()

    async def _provision(self) -> None:
        sends = sent_as("ttn/provision", {})
        consequence = "What is missing at the server is made, step by step; what is there is kept."
        if await confirmed("Provision?", consequence, sends, label="Provision"):
            await send(self.viewer, "ttn/provision", "Under way")
            await self.refresh()

    async def _deprovision(self) -> None:
        with ui.dialog() as dialog, ui.card().classes("jb-dialog"):
            words("Take it out of The Things Stack", "jb-h2", as_="h2")
            words(
                "Everything of the connection goes: devices in all registries, application, organization.",
                as_="p",
            )
            application = ui.input("This application alone").props("outlined dense")
            device = ui.input("This device alone").props("outlined dense")
            look = ui.checkbox("Only look, change nothing", value=True)
            box = ui.input('Type "deprovision" to go on').props("outlined dense")
            words(sent_as("ttn/deprovision", {}), "jb-quiet jb-mono", as_="p")
            with ui.row().classes("jb-buttons"):
                ui.button("Close", on_click=lambda: dialog.submit("")).props("no-caps flat")
                go = ui.button("Deprovision", on_click=lambda: dialog.submit("yes"))
                go.props("no-caps unelevated color=negative")
                go.bind_enabled_from(box, "value", backward=lambda value: value == "deprovision")
        wanted = await dialog
        dialog.delete()
        if not wanted:
            return
        body = await send(
            self.viewer,
            "ttn/deprovision",
            application_id=application.value or None,
            device=device.value or None,
            dry_run=True if look.value else None,
        )
        if body is not None:
            ui.navigate.to(f"/things-stack/runs/{body['job_id']}")

    async def _start_fresh(self) -> None:
        sends = sent_as("ttn/start-fresh", {})
        consequence = "Credentials that were made, and the steps done, are forgotten here; the server keeps its own."
        if await confirmed(
            "Start fresh?", consequence, sends, typed="start fresh", label="Forget them"
        ):
            await send(self.viewer, "ttn/start-fresh", "Forgotten")
            await self.refresh()


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
