"""Devices of a file into The Things Stack: every line looked at before anything is sent, then a result for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from nicegui import ui
from nicegui.events import UploadEventArguments

from broker.cli.fleet_file import FleetFileError, FleetLine, read_fleet
from broker.console.api import ApiError, sent_as
from broker.console.components import Pager, fill, section, table, tag, words
from broker.console.dialogs import titled
from broker.console.viewer import Viewer
from broker.console.words import counted, grouped

_AT_ONCE: Final = 250
_MOST_BYTES: Final = 8 * 1024 * 1024
# Quasar's own button for it has no name, and its list of files buttons without one; the dialog says what was chosen.
_CHOOSE: Final = """
<div class="q-pa-xs">
  <q-btn flat no-caps icon="upload_file" label="Choose a file: CSV or JSON" @click="props.pickFiles" />
  <span hidden><q-uploader-add-trigger /></span>
</div>
"""
_SHOWN: Final = 50
_COLUMNS: Final = (
    {"name": "line", "label": "Line", "field": "line"},
    {"name": "device", "label": "Device", "field": "device"},
    {"name": "result", "label": "Result", "field": "result"},
    {"name": "why", "label": "Why", "field": "why"},
)
_COLOURS: Final = {
    "OK": "SUCCEEDED",
    "ERROR": "FAILED",
    "PENDING": "QUEUED",
    "NOT SENT": "REJECTED",
}
_ROW: Final = r"""
<q-tr :props="props">
  <q-td class="jb-aside">{{ props.row.line }}</q-td>
  <q-td>{{ props.row.device }}</q-td>
  <q-td><span :class="'jb-status st-' + props.row.colour">{{ props.row.result }}</span></q-td>
  <q-td class="jb-block"><span class="jb-mono">{{ props.row.why }}</span></q-td>
</q-tr>
"""


class DeviceImport:
    """A card that shows the batch that was sent last; `ask` asks for a file. `refresh` reads the batch again."""

    def __init__(self, viewer: Viewer, organization: Callable[[], str | None]) -> None:
        """Stand empty, and unseen, until a file was sent for the organization that is looked at."""
        self.viewer = viewer
        self._organization = organization
        self._batch_id: str | None = None
        self._is_over = False
        self._wrong: list[FleetLine] = []
        self._numbers: dict[str, int] = {}
        self.card = tag("div", "jb-card", style="margin-top:14px")
        with self.card:
            section("Import")
            self.said = words("", as_="p").props("role=status")
            self.table = table(_COLUMNS, key="key", label="Lines of the import")
            self.table.add_slot("body", _ROW)
            self.pager = Pager(self.refresh)
        self.card.set_visibility(False)

    async def ask(self) -> None:
        """Take a file and what its lines may leave out, and send it."""
        with titled("Register the devices of a file") as dialog:
            words(
                "CSV with a heading, a JSON list, or one JSON object a line: device_id, dev_eui, app_key, and"
                " join_eui, nwk_key, name, lorawan_version, lorawan_phy_version, frequency_plan_id.",
                "jb-quiet",
                as_="p",
            )
            plan = ui.input("frequency_plan_id of lines without one", value="EU_863_870_TTN")
            plan.props("outlined dense")
            chosen = words("No file yet.", as_="p").props("role=status")
            text: list[str] = []

            async def uploaded(event: UploadEventArguments) -> None:
                try:
                    text[:] = [(await event.file.read()).decode("utf-8-sig")]
                except UnicodeDecodeError:
                    chosen.say(f"{event.file.name} is no text in UTF-8")
                    return
                chosen.say(f"{event.file.name}: {counted(len(text[0]), 'character')}")
                go.enable()

            with ui.upload(
                on_upload=uploaded,
                auto_upload=True,
                max_files=1,
                max_file_size=_MOST_BYTES,
                on_rejected=lambda: chosen.say("at most one file of 8 MB"),
            ) as file:
                file.props("flat bordered accept=.csv,.json,.jsonl,.txt").classes("jb-full")
                file.add_slot("header", _CHOOSE)
                file.add_slot("list", "<span></span>")
            words(sent_as("ttn/devices/register", {}), "jb-quiet jb-mono", as_="p")
            with ui.row().classes("jb-buttons"):
                ui.button("Close", on_click=lambda: dialog.submit("")).props("no-caps flat")
                go = ui.button("Register", on_click=lambda: dialog.submit("yes"))
                go.props("no-caps unelevated")
                go.disable()
        wanted = await dialog
        defaults = {"frequency_plan_id": plan.value} if plan.value else {}
        dialog.delete()
        if wanted:
            await self._send(text[0], defaults)

    async def _send(self, text: str, defaults: Mapping[str, str]) -> None:
        try:
            lines = read_fleet(text, defaults)
        except FleetFileError as error:
            ui.notify(f"The file: {error}", type="negative", timeout=8000, close_button="Close")
            return
        good = [one for one in lines if not one.problem]
        self._wrong = [one for one in lines if one.problem]
        self._numbers = {one.device_id: one.number for one in good}
        self._batch_id = None
        self._is_over = False
        self.pager.first()
        self.card.set_visibility(True)
        await self._register(good)
        await self.refresh()

    async def _register(self, good: list[FleetLine]) -> None:
        """Send these, a part at a time; what is left when one is refused was not sent, and is shown so."""
        organization = (
            self._organization()
        )  # that of the file, also when another is looked at meanwhile
        for at in range(0, len(good), _AT_ONCE):
            try:
                body = await self.viewer.call(
                    "ttn/devices/register",
                    organization_id=organization,
                    batch_id=self._batch_id,
                    devices=[one.device for one in good[at : at + _AT_ONCE]],
                )
            except ApiError as error:
                self._wrong += [replace(one, problem=error.message) for one in good[at:]]
                return
            self._batch_id = body["batch_id"]
            self.said.say(f"{grouped(min(at + _AT_ONCE, len(good)))} of {grouped(len(good))} sent")

    async def follow(self) -> None:
        """Read on while the batch is not over."""
        if not self._is_over:
            await self.refresh()

    async def refresh(self) -> None:
        """Read how far the batch is; what was not sent stands first."""
        if not self._numbers and not self._wrong:
            return
        is_first = self.pager.token is None
        rows = [_row(one.number, one.device_id, "NOT SENT", one.problem) for one in self._wrong]
        rows = rows if is_first else []
        said = [f"{counted(len(self._wrong), 'line')} not sent"] if self._wrong else []
        if self._batch_id is not None:
            body = await self.viewer.call(
                "ttn/devices/batch",
                batch_id=self._batch_id,
                limit=_SHOWN,
                next_token=self.pager.token,
            )
            said += [
                f"{grouped(body[name])} {word}" for name, word in _COUNTS.items() if body[name]
            ]
            self._is_over = not body["lines_left"]
            rows += [self._result(one) for one in body["results"]]
            self.pager.show({"nextToken": body.get("next_token")}, len(body["results"]))
        self.said.say(", ".join(said))
        fill(self.table, rows)

    def _result(self, one: Mapping[str, Any]) -> dict[str, Any]:
        why = " ".join(str(one[name]) for name in ("http_status", "error") if one.get(name))
        number = self._numbers.get(one["device_id"], one["line"])
        return _row(number, one["device_id"], one["status"], why)


def _row(line: int, device: str, result: str, why: str) -> dict[str, Any]:
    return {
        "key": f"{line}/{device}/{result}",
        "line": line,
        "device": device,
        "result": result.capitalize(),
        "colour": _COLOURS.get(result, "QUEUED"),
        "why": why,
    }


_COUNTS: Final = {"lines_ok": "done", "lines_failed": "failed", "lines_left": "to do"}
