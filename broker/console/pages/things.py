"""Things: searched by name and attribute; new ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nicegui import ui
from nicegui.events import ValueChangeEventArguments

from broker.console.components import (
    Pager,
    code_block,
    command_button,
    empty,
    heading,
    send,
    table,
    tag,
    words,
)
from broker.console.draft import DraftError, parameters_of
from broker.console.links import thing_path, with_query
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
        self.name = query.get("name", "")
        self.attribute = query.get("attribute", "")

    def build(self) -> None:
        """Everything but the rows."""
        with tag("div", "jb-head"):
            heading("Things").classes("jb-grow")
            ui.input(
                placeholder="Name begins with  /", value=self.name, on_change=self._by_name
            ).props(
                'outlined dense clearable debounce=250 aria-label="Name begins with" data-search'
            )
            ui.input(
                placeholder="attribute or attribute=value",
                value=self.attribute,
                on_change=self._by_attribute,
            ).props('outlined dense clearable debounce=400 aria-label="Attribute"')
            command_button(self.viewer, "New thing", "things/create", self._create, icon="add")
        self.table = table(_COLUMNS, key="thing", label="Things")
        self.table.add_slot("body", _ROW)
        self.nothing = tag("div")
        self.pager = Pager(self.read)

    async def read(self) -> None:
        """Read the page of things."""
        name, _, value = self.attribute.partition("=")
        body = await self.viewer.call(
            "things/list",
            namePrefixFilter=self.name or None,
            attributeName=name or None,
            attributeValue=value or None,
            maxResults=_ROWS,
            nextToken=self.pager.token,
        )
        self.table.rows = [self._row(one) for one in body["things"]]
        self.table.set_visibility(bool(self.table.rows))
        self.pager.show(body, len(self.table.rows))
        self.nothing.clear()
        if not self.table.rows:
            with self.nothing:
                if self.name or self.attribute:
                    empty(
                        "No thing is like this", "Search for the beginning of a name, in its case."
                    )
                else:
                    empty(
                        "No things yet",
                        "Register a device: jobbroker things add NAME, or the button above.",
                    )

    def _row(self, one: Mapping[str, Any]) -> dict[str, Any]:
        attributes = one.get("attributes", {})
        return {
            "thing": one["thingName"],
            "href": self.viewer.link(thing_path(one["thingName"])),
            "attributes": ", ".join(f"{key}={value}" for key, value in attributes.items()),
        }

    async def _by_name(self, event: ValueChangeEventArguments[Any]) -> None:
        self.name = (event.value or "").strip()
        await self._begin()

    async def _by_attribute(self, event: ValueChangeEventArguments[Any]) -> None:
        self.attribute = (event.value or "").strip()
        await self._begin()

    async def _begin(self) -> None:
        self.pager.first()
        said = {"name": self.name, "attribute": self.attribute}
        ui.navigate.history.replace(self.viewer.link(with_query("/things", said)))
        await self.read()

    async def _create(self) -> None:
        with ui.dialog() as dialog, ui.card().classes("jb-dialog"):
            words("New thing", "jb-h2", as_="h2")
            name = ui.input("Name").props("outlined dense autofocus")
            attributes = ui.textarea("Attributes, name=value, one a line").props(
                "outlined dense autogrow"
            )
            token = ui.checkbox("With a token, shown once", value=True)
            with ui.row().classes("jb-buttons"):
                ui.button("Close", on_click=lambda: dialog.submit("")).props("no-caps flat")
                ui.button("Create", on_click=lambda: dialog.submit("yes")).props(
                    "no-caps unelevated"
                )
        if not await dialog:
            dialog.delete()
            return
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
        dialog.delete()
        if body is None:
            return
        if "token" in body:
            await show_token(body["thingName"], body["token"])
        await self.read()


async def show_token(name: str, token: str) -> None:
    """A token, this once."""
    with ui.dialog().props("persistent") as dialog, ui.card().classes("jb-dialog"):
        words(f"The token of {name}", "jb-h2", as_="h2")
        words("It is shown this once: username is the name, password the token.", as_="p")
        code_block(token, "the token")
        with ui.row().classes("jb-buttons"):
            ui.button("I have it", on_click=lambda: dialog.submit("yes")).props(
                "no-caps unelevated"
            )
    await dialog
    dialog.delete()
