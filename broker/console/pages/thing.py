"""A thing: its attributes and groups, its queue as it sees it, what it has done, what lets it in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nicegui import ui

from broker.console.api import sent_as
from broker.console.components import (
    Moment,
    Pager,
    at,
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
from broker.console.dialogs import confirmed_sending, filled, show_token
from broker.console.draft_rows import DraftError
from broker.console.draft_texts import parameters_of
from broker.console.links import execution_path, group_path, with_query
from broker.console.viewer import Live, Viewer
from broker.console.words import word

_ROWS: Final = 25
_COLUMNS: Final = (
    {"name": "job", "label": "Job", "field": "job"},
    {"name": "status", "label": "Status", "field": "status"},
    {"name": "attempt", "label": "Attempt", "field": "attempt"},
    {"name": "queued", "label": "Queued", "field": "queued"},
    {"name": "updated", "label": "Last update", "field": "updated"},
)
_ROW: Final = r"""
<q-tr :props="props">
  <q-td class="jb-block"><a data-row :href="props.row.href">{{ props.row.job }}</a></q-td>
  <q-td class="jb-block"><span :class="'jb-status st-' + props.row.status">{{ props.row.status_word }}</span></q-td>
  <q-td class="jb-aside">{{ props.row.attempt }}</q-td>
  <q-td class="jb-aside"><time :title="props.row.queued_utc">{{ props.row.queued }}</time></q-td>
  <q-td><time :title="props.row.updated_utc">{{ props.row.updated }}</time></q-td>
</q-tr>
"""


async def show(viewer: Viewer, name: str) -> None:
    """Build the page of a thing. Raises ApiError when there is none."""
    page = _Thing(viewer, name)
    await page.read()
    page.build()
    await page.refresh()
    page.read_again = Live(viewer, page.refresh, seconds=3.0).now


class _Thing:
    def __init__(self, viewer: Viewer, name: str) -> None:
        self.viewer = viewer
        self.name = name
        self.thing: dict[str, Any] = {}
        self.read_again = self.refresh
        self._shown: object = None

    async def read(self) -> None:
        """Read the thing and the beginning of its queue."""
        self.thing = await self.viewer.look("things/get", thingName=self.name)

    def build(self) -> None:
        """The frame of the page."""
        viewer, names = self.viewer, {"thingName": self.name}
        with tag("div", "jb-head"):
            heading(self.name).classes("jb-grow")
            with tag("div", "jb-row"):
                if viewer.may("jobs/create"):
                    path = with_query("/new", {"target": f"thing/{self.name}"})
                    with tag("a", "jb-link-button", href=viewer.link(path), data_new=""):
                        words("Send a job")
                command_button(
                    viewer, "Attributes", "things/update", self._edit, icon="edit", names=names
                )
                command_button(
                    viewer, "Remove", "things/delete", self._remove, icon="delete", names=names
                )
        with tag("div", "jb-grid"):
            with tag("div", "jb-card"):
                section("Facts")
                self.facts = tag("div")
            with tag("div", "jb-card"):
                section("Its queue, in the order in which it sees it")
                self.queue = tag("div")
            with tag("div", "jb-card jb-span"):
                with tag("div", "jb-row"):
                    section("What lets it in").classes("jb-grow")
                    command_button(
                        viewer,
                        "Issue a token",
                        "credentials/issue",
                        self._issue,
                        icon="key",
                        names=names,
                    )
                    command_button(
                        viewer,
                        "Revoke all",
                        "credentials/revoke",
                        self._revoke,
                        icon="block",
                        names=names,
                    )
                self.credentials = tag("div")
        with tag("div", "jb-head", style="margin-top:18px"):
            section("Everything it was sent")
        self.table = table(_COLUMNS, key="key", label="Executions of this thing")
        self.table.add_slot("body", _ROW)
        self.pager = Pager(self.refresh)

    async def refresh(self) -> None:
        """Read everything again; what has not changed stays as it is."""
        await self.read()
        found = await self.viewer.look("credentials/list", thingName=self.name)
        history = await self.viewer.look(
            "things/executions", thingName=self.name, maxResults=_ROWS, nextToken=self.pager.token
        )
        rows = [self._row(one) for one in history["executionSummaries"]]
        fill(self.table, rows)
        self.pager.show(history, len(rows))
        now = {**self.thing, "credentials": found["credentials"], "timestamp": None}
        if now != self._shown:
            self._shown = now
            self._show_facts()
            self._show_queue()
            self._show_credentials(found["credentials"])

    def _show_facts(self) -> None:
        one = self.thing
        self.facts.clear()
        with self.facts:
            facts(
                self.viewer,
                [
                    ("Type", one.get("thingTypeName")),
                    *sorted(one.get("attributes", {}).items()),
                    (
                        "Last report",
                        Moment(one["lastSeenAt"]) if "lastSeenAt" in one else "none yet",
                    ),
                    ("Registered", Moment(one["createdAt"])),
                    ("Version", one.get("version")),
                ],
            )
            with tag("div", "jb-row", style="margin-top:8px"):
                for group in one.get("thingGroups", []):
                    with tag("a", href=self.viewer.link(group_path(group["groupName"]))):
                        words(f"group {group['groupName']}")

    def _show_queue(self) -> None:
        self.queue.clear()
        with self.queue:
            pending = self.thing.get("pendingExecutions", [])
            for number, one in enumerate(pending, start=1):
                with tag("div", "jb-log-line"):
                    words(f"{number}.", "jb-quiet")
                    status_chip(one["status"])
                    with tag("a", href=self.viewer.link(execution_path(one["jobId"], self.name))):
                        words(one["jobId"])
            if not pending:
                words("Nothing waits for it.", "jb-quiet")

    def _show_credentials(self, found: list[dict[str, Any]]) -> None:
        self.credentials.clear()
        with self.credentials:
            for one in found:
                with tag("div", "jb-log-line"):
                    words(one["kind"])
                    state = "revoked" if "revokedAt" in one else "live"
                    words(
                        state, "jb-status st-" + ("REMOVED" if state == "revoked" else "SUCCEEDED")
                    )
                    with tag("span"):
                        words("issued ")
                        at(self.viewer, one["createdAt"])
                        if "expiresAt" in one:
                            words(", good until ")
                            at(self.viewer, one["expiresAt"])
                        if "serial" in one:
                            words(f", serial {one['serial'][:16]}", "jb-mono")
            if not found:
                empty(
                    "Nothing lets it in",
                    "Issue a token, or a certificate: jobbroker things add NAME --cert.",
                )

    def _row(self, one: Mapping[str, Any]) -> dict[str, Any]:
        summary = one["jobExecutionSummary"]
        queued, updated = (
            self.viewer.both(summary["queuedAt"]),
            self.viewer.both(summary["lastUpdatedAt"]),
        )
        return {
            "key": f"{one['jobId']}/{summary['executionNumber']}",
            "job": one["jobId"],
            "href": self.viewer.link(execution_path(one["jobId"], self.name)),
            "status": summary["status"],
            "status_word": word(summary["status"]),
            "attempt": summary["executionNumber"],
            "queued": queued["text"],
            "queued_utc": queued["utc"],
            "updated": updated["text"],
            "updated_utc": updated["utc"],
        }

    async def _issue(self) -> None:
        body = await confirmed_sending(
            self.viewer,
            "credentials/issue",
            f"A new token for {self.name}?",
            "The token that it has stops working at once, and its connection is closed.",
            label="Issue it",
            thingName=self.name,
        )
        if body is not None:
            await show_token(self.name, body["token"])
            await self.read_again()

    async def _revoke(self) -> None:
        done = await confirmed_sending(
            self.viewer,
            "credentials/revoke",
            f"Lock {self.name} out?",
            "Its token and its certificates are refused from now on.",
            typed=self.name,
            label="Revoke all",
            done="Revoked",
            thingName=self.name,
        )
        if done is not None:
            await self.read_again()

    async def _remove(self) -> None:
        done = await confirmed_sending(
            self.viewer,
            "things/delete",
            f"Remove {self.name}?",
            "What waits for it becomes REMOVED, and nothing lets it in any more.",
            typed=self.name,
            label="Remove it",
            thingName=self.name,
        )
        if done is not None:
            ui.navigate.to("/things")

    async def _edit(self) -> None:
        stored = self.thing.get("attributes", {})
        text = "\n".join(f"{key}={value}" for key, value in stored.items())

        def fields() -> ui.textarea:
            area = ui.textarea("name=value, one a line", value=text)
            return area.props("outlined dense autogrow autofocus")

        sends = sent_as("things/update", {"thingName": self.name})
        area = await filled(f"Attributes of {self.name}", fields, sends, label="Save")
        if area is None:
            return
        try:
            payload = {"attributes": parameters_of(area.value or ""), "merge": False}
        except DraftError as error:
            ui.notify(error.message, type="negative")
            return
        await send(
            self.viewer,
            "things/update",
            "Saved",
            thingName=self.name,
            attributePayload=payload,
            expectedVersion=self.thing.get("version"),
        )
        await self.read_again()
