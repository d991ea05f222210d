"""A deprovisioning run at The Things Stack, step by step: endpoint, HTTP status, what was answered; resume, cancel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from broker.console.api import sent_as
from broker.console.components import (
    Moment,
    command_button,
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
from broker.console.pages.stack_runs import STATES, epoch
from broker.console.viewer import Live, Viewer

_STEPS: Final = 250
_SAMPLE: Final = 6
_LIVE: Final = frozenset({"QUEUED", "RUNNING"})
_COLUMNS: Final = (
    {"name": "step", "label": "Step", "field": "step"},
    {"name": "status", "label": "Status", "field": "status"},
    {"name": "http", "label": "HTTP", "field": "http"},
    {"name": "endpoint", "label": "Endpoint", "field": "endpoint"},
    {"name": "said", "label": "Answer", "field": "said"},
    {"name": "at", "label": "Ended", "field": "at"},
)
_ROW: Final = r"""
<q-tr :props="props">
  <q-td class="jb-block">{{ props.row.step }}<span class="jb-sub">{{ props.row.target }}</span></q-td>
  <q-td><span :class="'jb-status st-' + props.row.colour">{{ props.row.status }}</span></q-td>
  <q-td>{{ props.row.http }}</q-td>
  <q-td class="jb-block"><span class="jb-mono">{{ props.row.endpoint }}</span></q-td>
  <q-td class="jb-block"><span class="jb-mono">{{ props.row.said }}</span></q-td>
  <q-td class="jb-aside"><time :title="props.row.at_utc">{{ props.row.at }}</time></q-td>
</q-tr>
"""


async def show(viewer: Viewer, run_id: str) -> None:
    """Build the page of a run. Raises ApiError when there is none."""
    page = _Run(viewer, run_id)
    page.build()
    await page.refresh()
    page.read_again = Live(viewer, page.refresh).now


class _Run:
    def __init__(self, viewer: Viewer, run_id: str) -> None:
        self.viewer = viewer
        self.run_id = run_id
        self.read_again = self.refresh
        self._shown: object = None

    def build(self) -> None:
        """The frame of the page."""
        with tag("div", "jb-head"):
            heading("Deprovisioning run").classes("jb-grow")
            self.chip = tag("div")
            self.actions = tag("div", "jb-row")
        with tag("div", "jb-card", style="margin-bottom:14px"):
            self.facts = tag("div")
        section("Steps")
        self.table = table(_COLUMNS, key="key", label="Steps of this run")
        self.table.add_slot("body", _ROW)
        self.more = words("", "jb-quiet")

    async def refresh(self) -> None:
        """Read the run and its steps again."""
        body = await self.viewer.look("ttn/runs/get", jobId=self.run_id, limit=_STEPS)
        rows = [self._row(number, one) for number, one in enumerate(body["steps"])]
        fill(self.table, rows)
        self.more.say(f"the first {_STEPS} steps" if "next_token" in body else "")
        if body["job"] != self._shown:
            self._shown = body["job"]
            self._show(body["job"])

    def _show(self, run: Mapping[str, Any]) -> None:
        status = str(run["status"])
        self.chip.clear()
        with self.chip:
            status_chip(STATES.get(status, "QUEUED")).say(status.capitalize())
        self.facts.clear()
        with self.facts:
            said = {name: _fact(name, run[name]) for name in _FACTS if name in run}
            said |= {name: _summed(value) for name, value in (run.get("summary") or {}).items()}
            facts(self.viewer, [(name.replace("_", " "), value) for name, value in said.items()])
        names = {"jobId": self.run_id}
        self.actions.clear()
        with self.actions:
            if status in _LIVE:
                command_button(
                    self.viewer,
                    "Cancel",
                    "ttn/runs/cancel",
                    self._cancel,
                    icon="block",
                    names=names,
                )
            if status in {"FAILED", "PARTIAL", "QUEUED"}:
                command_button(
                    self.viewer,
                    "Resume",
                    "ttn/runs/resume",
                    self._resume,
                    icon="replay",
                    names=names,
                )

    def _row(self, number: int, one: Mapping[str, Any]) -> dict[str, Any]:
        both = self.viewer.both(epoch(one.get("finished_at") or one.get("started_at")))
        status = str(one["status"])
        target = " ".join(str(one[name]) for name in ("target_type", "target_id") if one.get(name))
        return {
            "key": f"{number}/{one.get('id')}",
            "step": str(one["step_name"]).replace("_", " "),
            "target": target + (f", attempt {one['attempt']}" if one.get("attempt", 1) > 1 else ""),
            "status": status.capitalize(),
            "colour": STATES.get(status, "QUEUED"),
            "http": one.get("http_status") or "",
            "endpoint": one.get("ttn_endpoint") or "",
            "said": one.get("response_snippet") or "",
            "at": both["text"],
            "at_utc": both["utc"],
        }

    async def _cancel(self) -> None:
        sends = sent_as("ttn/runs/cancel", {"jobId": self.run_id})
        consequence = "It ends between two steps; what is taken away stays so."
        if await confirmed("Cancel the run?", consequence, sends, label="Cancel the run"):
            await send(self.viewer, "ttn/runs/cancel", "Canceled", jobId=self.run_id)
            await self.read_again()

    async def _resume(self) -> None:
        await send(self.viewer, "ttn/runs/resume", "Resumed", jobId=self.run_id)
        await self.read_again()


_FACTS: Final = (
    *("action", "ttn_application_id", "ttn_org_id", "device_id", "ttn_region", "dry_run", "force"),
    *("requested_by", "created_at", "started_at", "finished_at", "phase", "idle_seconds", "error"),
)


def _summed(value: object) -> object:
    """What a run's summary has: of a long list how many and the first ones."""
    if isinstance(value, list):
        more = f" and {len(value) - _SAMPLE} more" if len(value) > _SAMPLE else ""
        return f"{len(value)}: {', '.join(map(str, value[:_SAMPLE]))}{more}" if value else None
    if isinstance(value, dict):
        return ", ".join(f"{name}: {one}" for name, one in value.items())
    return _fact("", value)


def _fact(name: str, value: object) -> object:
    if name.endswith("_at"):
        at = epoch(value)
        return None if at is None else Moment(at)
    if isinstance(value, bool):
        return "yes" if value else None
    return value
