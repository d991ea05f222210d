"""Things: searched by name and attribute; new ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nicegui import ui

from broker.console.api import sent_as
from broker.console.components import command_button, heading, send, tag
from broker.console.dialogs import filled, show_token
from broker.console.draft_rows import DraftError
from broker.console.draft_texts import parameters_of
from broker.console.links import thing_path
from broker.console.listing import Listing
from broker.console.viewer import Viewer

_ROWS: Final = 50
_COLUMNS: Final = (
    {"name": "thing", "label": "Thing", "field": "thing"},
    {"name": "attributes", "label": "Attributes", "field": "attributes"},
)
_ROW: Final = r"""
<q-tr :props="props">
  <q-td class="jb-block"><a data-row :href="props.row.href">{{ props.row.thing }}</a></q-td>
  <q-td class="jb-block"><span class="jb-mono">{{ props.row.attributes }}</span></q-td>
</q-tr>
"""


async def show(viewer: Viewer, query: Mapping[str, str]) -> None:
    """Build the page; the query has `name` and `attribute` (NAME or NAME=VALUE)."""
    page = _Things(viewer, query)
    page.build()
    await page.read()


class _Things:
    def __init__(self, viewer: Viewer, query: Mapping[str, str]) -> None:
        self.viewer = viewer
        self.list = Listing(viewer, "/things", query, ("name", "attribute"), self.read)

    def build(self) -> None:
        """Everything but the rows."""
        with tag("div", "jb-head"):
            heading("Things").classes("jb-grow")
            self.list.search("name", "Name begins with", main=True)
            self.list.search("attribute", "attribute or attribute=value")
            command_button(self.viewer, "New thing", "things/create", self._create, icon="add")
        self.list.rows(_COLUMNS, _ROW, key="thing", label="Things")

    async def read(self) -> None:
        """Read the page of things."""
        name, _, value = self.list.said["attribute"].partition("=")
        body = await self.viewer.call(
            "things/list",
            namePrefixFilter=self.list.said["name"] or None,
            attributeName=name or None,
            attributeValue=value or None,
            maxResults=_ROWS,
            nextToken=self.list.pager.token,
        )
        self.list.show(
            body,
            [self._row(one) for one in body["things"]],
            ("No thing is like this", "Search for the beginning of a name, in its case."),
            none_yet=(
                "No things yet",
                "Register a device: jobbroker things add NAME, or the button above.",
                None,
            ),
        )

    def _row(self, one: Mapping[str, Any]) -> dict[str, Any]:
        attributes = one.get("attributes", {})
        return {
            "thing": one["thingName"],
            "href": self.viewer.link(thing_path(one["thingName"])),
            "attributes": ", ".join(f"{key}={value}" for key, value in attributes.items()),
        }

    async def _create(self) -> None:
        def fields() -> tuple[ui.input, ui.textarea, ui.checkbox]:
            return (
                ui.input("Name").props("outlined dense autofocus"),
                ui.textarea("Attributes, name=value, one a line").props("outlined dense autogrow"),
                ui.checkbox("With a token, shown once", value=True),
            )

        form = await filled("New thing", fields, sent_as("things/create", {}), label="Create")
        if form is None:
            return
        name, attributes, token = form
        try:
            given = parameters_of(attributes.value or "")
        except DraftError as error:
            ui.notify(error.message, type="negative")
            return
        body = await send(
            self.viewer,
            "things/create",
            "Created",
            thingName=(name.value or "").strip(),
            attributes=given or None,
            issueToken=bool(token.value),
        )
        if body is None:
            return
        if "token" in body:
            await show_token(body["thingName"], body["token"])
        await self.list.turn()
