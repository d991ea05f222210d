"""The things of a job as a table, by status, in pages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from nicegui import ui

from broker.console.components import Pager, Tag, fill, press, table, tag, words
from broker.console.links import execution_path
from broker.console.viewer import Viewer
from broker.console.words import SHOWN, word
from schema.lifecycle import Status

_ROWS: Final = 50
_COLUMNS: Final = (
    {"name": "thing", "label": "Thing", "field": "thing"},
    {"name": "status", "label": "Status", "field": "status"},
    {"name": "details", "label": "Details", "field": "details"},
    {"name": "attempt", "label": "Attempt", "field": "attempt"},
    {"name": "version", "label": "Version", "field": "version"},
    {"name": "updated", "label": "Last update", "field": "updated"},
)
_ROW: Final = r"""
<q-tr :props="props">
  <q-td><a data-row :href="props.row.href">{{ props.row.thing }}</a></q-td>
  <q-td><span :class="'jb-status st-' + props.row.status">{{ props.row.status_word }}</span></q-td>
  <q-td class="jb-block"><span class="jb-mono">{{ props.row.details }}</span></q-td>
  <q-td class="jb-aside">{{ props.row.attempt }}</q-td>
  <q-td class="jb-aside">{{ props.row.version }}</q-td>
  <q-td class="jb-aside"><time :title="props.row.updated_utc">{{ props.row.updated }}</time></q-td>
</q-tr>
"""


class ThingsTable:
    """Built where it stands; `refresh` reads the page that is shown."""

    def __init__(self, viewer: Viewer, job_id: str, status: str) -> None:
        """Take the job, and the status that is shown first ("" for all)."""
        self.viewer = viewer
        self.job_id = job_id
        self.status = status if status in {*Status} else ""
        with tag("div", "jb-tabs", role="group", aria_label="Things by status"):
            self._filters: dict[str, Tag] = {}
            for one in ("", *SHOWN):
                button = tag("button", "jb-tab", type="button").on(
                    "click", partial(self._filter, str(one))
                )
                with button:
                    words(word(one) if one else "All")
                self._filters[str(one)] = button
        self.table = table(_COLUMNS, key="key", label="Things of this job")
        self.table.add_slot("body", _ROW)
        self.nobody = words("", "jb-empty", as_="p")
        self.pager = Pager(self.refresh)

    async def refresh(self) -> None:
        """Read the page that is shown."""
        body = await self.viewer.look(
            "jobs/get",
            jobId=self.job_id,
            includeDocument=False,
            maxResults=_ROWS,
            status=self.status or None,
            nextToken=self.pager.token,
        )
        rows = [self._row(one) for one in body["executions"]]
        fill(self.table, rows)
        self.nobody.set_visibility(not rows)
        self.nobody.say("Nobody is in this status." if self.status else "Nobody has been told yet.")
        self.pager.show(body, len(rows))
        for status, button in self._filters.items():
            press(button, pressed=status == self.status)

    def _row(self, one: Mapping[str, Any]) -> dict[str, Any]:
        details = one.get("statusDetails", {})
        return {
            "key": f"{one['thingName']}/{one['executionNumber']}",
            "thing": one["thingName"],
            "href": self.viewer.link(execution_path(self.job_id, one["thingName"])),
            "status": one["status"],
            "status_word": word(one["status"]),
            "details": ", ".join(f"{key}: {value}" for key, value in details.items()),
            "attempt": one.get("executionNumber", 1),
            "version": one["versionNumber"],
            "updated": self.viewer.at(one["lastUpdatedAt"]),
            "updated_utc": self.viewer.both(one["lastUpdatedAt"])["utc"],
        }

    async def _filter(self, status: str) -> None:
        self.status = status
        self.pager.first()
        ui.navigate.history.replace(f"?tab=things&status={status}" if status else "?tab=things")
        await self.refresh()
