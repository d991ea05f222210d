"""A list in pages with fields that narrow it: what the fields say stands in the URL."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from nicegui import ui
from nicegui.elements.mixins.value_element import ValueElement
from nicegui.events import ValueChangeEventArguments

from broker.console.api import ApiError, Body
from broker.console.components import Pager, empty, fill, table, tag
from broker.console.links import with_query
from broker.console.viewer import Viewer

_REQUESTS: Final = 20  # for one page of a list that may be short and yet go on


class Fields:
    """What narrows a page; `said` has what the fields say, "" for nothing."""

    def __init__(
        self,
        viewer: Viewer,
        path: str,
        query: Mapping[str, str],
        names: Sequence[str],
        read: Callable[[], Awaitable[None]],
    ) -> None:
        """Take the page's path and query, the names of its fields, and what reads the page of the list."""
        self.viewer = viewer
        self.said = {name: query.get(name, "") for name in names}
        self._after = query.get("after")
        self._path = path
        self._read = read
        self.reading = asyncio.Lock()

    def search(self, name: str, label: str, *, main: bool = False) -> ui.input:
        """A field to type in; the main one is what the key / goes to."""
        hint = f"{label}  /" if main else label
        box = ui.input(placeholder=hint).props(f'outlined dense clearable aria-label="{label}"')
        self.bound(box, name)
        box.props("debounce=300" + (" data-search" if main else ""))
        return box

    def bound(self, element: ValueElement[Any], name: str) -> None:
        """Have an element narrow the list by its value."""
        element.value = self.said[name] or element.value

        async def changed(event: ValueChangeEventArguments[Any]) -> None:
            await self.narrow(name, str(event.value or ""))

        element.on_value_change(changed)

    async def narrow(self, name: str, text: str) -> None:
        """Read anew with another value of a field."""
        if self.said[name] != text.strip():
            self.said[name] = text.strip()
            await self._begin()

    async def _begin(self) -> None:
        await self._show_read(self.said)

    async def _show_read(self, said: Mapping[str, str | None]) -> None:
        """Have the URL say what is read, and read it."""
        ui.navigate.history.replace(self.viewer.link(with_query(self._path, said)))
        async with self.reading:  # each reads what is said by then: what stays is the last
            try:
                await self._read()
            except ApiError as error:
                self.viewer.complain(error)


class Listing(Fields):
    """A list in pages: its fields, its table and its pager; the query's `after` is where it begins."""

    def rows(
        self,
        columns: Sequence[Mapping[str, Any]],
        row: str,
        *,
        key: str,
        label: str,
        selection: bool = False,
    ) -> None:
        """The table, what stands there when it is empty, and the pager."""
        self.table = table(columns, key=key, label=label, selection=selection)
        self.table.add_slot("body", row)
        self._nothing = tag("div")
        self._said_of_none: object = None
        self.pager = Pager(self.turn)
        self.pager.first(self._after)

    async def _begin(self) -> None:
        self.pager.first()
        await self.turn()

    async def turn(self) -> None:
        """Read the page that the pager stands at."""
        await self._show_read({**self.said, "after": self.pager.token})

    async def page(self, verb: str, member: str, most: int, **asked: object) -> Body:
        """A page of a list from where the pager stands, as `whole_page`."""
        return await whole_page(self.viewer, verb, member, most, self.pager.token, **asked)

    def show(
        self,
        body: Mapping[str, Any],
        rows: list[dict[str, Any]],
        nothing: tuple[str, str],
        *,
        none_yet: tuple[str, str, tuple[str, str] | None],
    ) -> None:
        """Show a page's rows; without any, the words for a list that is narrowed, or for one that is empty yet."""
        fill(self.table, rows)
        self.pager.show(body, len(rows))
        said = None if rows else nothing if any(self.said.values()) else none_yet
        if said != self._said_of_none:
            self._said_of_none = said
            self._nothing.clear()
            if said is not None:
                with self._nothing:
                    empty(*said)


async def whole_page(
    viewer: Viewer, verb: str, member: str, most: int, token: str | None = None, **asked: object
) -> Body:
    """A page of a list; one that is short although the list goes on is asked for again, some times."""
    found: list[Any] = []
    for _ in range(_REQUESTS):
        body = await viewer.look(verb, **asked, maxResults=most - len(found), nextToken=token)
        found += body[member]
        token = body.get("nextToken")
        if token is None or len(found) >= most:
            break
    return {member: found, **({"nextToken": token} if token else {})}
