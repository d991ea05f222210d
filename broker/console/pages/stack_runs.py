"""Deprovisioning runs at The Things Stack as a table, and what their statuses and moments are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from broker.console.components import fill, section, table, tag, words
from broker.console.viewer import Viewer

_MOST: Final = 20
STATES: Final = {
    "QUEUED": "QUEUED",
    "PENDING": "QUEUED",
    "RUNNING": "IN_PROGRESS",
    "SUCCEEDED": "SUCCEEDED",
    "OK": "SUCCEEDED",
    "FAILED": "FAILED",
    "ERROR": "FAILED",
    "PARTIAL": "TIMED_OUT",
    "SKIPPED": "CANCELED",
}
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


def epoch(text: object) -> float | None:
    """A moment as these commands have it (ISO 8601), in epoch seconds."""
    return datetime.fromisoformat(str(text)).timestamp() if text else None


class Runs:
    """The latest runs, built where they stand."""

    def __init__(self, viewer: Viewer) -> None:
        """Stand empty until `refresh`."""
        self.viewer = viewer
        with tag("div", "jb-head", style="margin-top:18px"):
            section("Deprovisioning runs")
        self.table = table(_RUNS, key="run", label="Deprovisioning runs")
        self.table.add_slot("body", _RUN)
        self.nothing = words("None yet.", "jb-quiet", as_="p")

    async def refresh(self) -> None:
        """Read them again."""
        body = await self.viewer.look("ttn/runs/list", limit=_MOST)
        rows = [self._row(one) for one in body["jobs"]]
        fill(self.table, rows)
        self.nothing.set_visibility(not rows)

    def _row(self, one: Mapping[str, Any]) -> dict[str, Any]:
        both = self.viewer.both(epoch(one["created_at"]))
        named = (one.get(name) for name in ("ttn_application_id", "device_id"))
        return {
            "run": one["id"],
            "href": self.viewer.link(f"/things-stack/runs/{one['id']}"),
            "what": str(one.get("action", "")).replace("_", " "),
            "target": " ".join(str(name) for name in named if name),
            "dry": ", looks only" if one.get("dry_run") else "",
            "status": str(one["status"]).capitalize(),
            "colour": STATES.get(one["status"], "QUEUED"),
            "created": both["text"],
            "created_utc": both["utc"],
        }
