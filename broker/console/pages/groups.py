"""Groups, static ones and those of a query, and one of them with its members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nicegui import ui

from broker.console.api import ApiError, sent_as
from broker.console.components import (
    Latest,
    Moment,
    Pager,
    command_button,
    facts,
    fill,
    heading,
    section,
    send,
    table,
    tag,
    words,
)
from broker.console.dialogs import confirmed_sending, filled
from broker.console.links import group_path, thing_path, with_query
from broker.console.listing import Listing
from broker.console.viewer import Viewer
from broker.console.words import counted

_ROWS: Final = 50
_COLUMNS: Final = (
    {"name": "group", "label": "Group", "field": "group"},
    {"name": "query", "label": "Query", "field": "query"},
)
_ROW: Final = r"""
<q-tr :props="props">
  <q-td class="jb-block"><a data-row :href="props.row.href">{{ props.row.group }}</a></q-td>
  <q-td class="jb-block"><span class="jb-mono">{{ props.row.query }}</span></q-td>
</q-tr>
"""
_MEMBERS: Final = ({"name": "thing", "label": "Thing", "field": "thing"},)
_MEMBER: Final = r"""
<q-tr :props="props">
  <q-td class="jb-block"><a data-row :href="props.row.href">{{ props.row.thing }}</a></q-td>
</q-tr>
"""


async def show(viewer: Viewer, query: Mapping[str, str]) -> None:
    """Build the list; the query has `name`."""
    page = _Groups(viewer, query)
    page.build()
    await page.read()


class _Groups:
    def __init__(self, viewer: Viewer, query: Mapping[str, str]) -> None:
        self.viewer = viewer
        self.list = Listing(viewer, "/groups", query, ("name",), self.read)

    def build(self) -> None:
        """Everything but the rows."""
        with tag("div", "jb-head"):
            heading("Groups").classes("jb-grow")
            self.list.search("name", "Name begins with", main=True)
            command_button(self.viewer, "New group", "groups/create", self._create, icon="add")
        self.list.rows(_COLUMNS, _ROW, key="group", label="Groups")

    async def read(self) -> None:
        """Read the page of groups."""
        body = await self.viewer.call(
            "groups/list",
            namePrefixFilter=self.list.said["name"] or None,
            maxResults=_ROWS,
            nextToken=self.list.pager.token,
        )
        rows = [
            {
                "group": one["groupName"],
                "href": self.viewer.link(group_path(one["groupName"])),
                "query": one.get("queryString", ""),
            }
            for one in body["thingGroups"]
        ]
        self.list.show(
            body,
            rows,
            ("No group is called like this", "Search for the beginning of a name, in its case."),
            none_yet=(
                "No groups yet",
                "A group is a target for jobs: of things you put in, or of all that fit a query.",
                None,
            ),
        )

    async def _create(self) -> None:
        def fields() -> tuple[ui.input, ui.input]:
            name = ui.input("Name").props("outlined dense autofocus")
            return name, query_field(self.viewer, "Query; empty: you choose its things")

        form = await filled("New group", fields, sent_as("groups/create", {}), label="Create")
        if form is None:
            return
        name, query = form
        made = await send(
            self.viewer,
            "groups/create",
            "Created",
            thingGroupName=(name.value or "").strip(),
            queryString=(query.value or "").strip() or None,
        )
        if made is not None:
            await self.list.turn()


def query_field(viewer: Viewer, label: str, query: str = "") -> ui.input:
    """A field for a group's query, with what that fits now below it."""
    field = ui.input(label, value=query).props(
        'outlined dense hint="such as attributes.site:roof AND NOT thingName:pump-9*"'
    )
    found = words("", "jb-quiet", as_="p")

    latest = Latest()

    async def look() -> None:
        is_latest = latest.ask()
        fits = await _fits(viewer, str(field.value or ""))
        if is_latest():
            found.say(fits)

    field.on_value_change(look).props("debounce=400")
    return field


async def _fits(viewer: Viewer, query: str) -> str:
    if not query.strip():
        return ""
    try:
        body = await viewer.call("things/search", queryString=query.strip(), maxResults=5)
    except ApiError as error:
        return error.message
    names = [one["thingName"] for one in body["things"]]
    more = " and more" if "nextToken" in body else ""
    return f"Fits now: {', '.join(names) or 'nothing'}{more}"


async def show_one(viewer: Viewer, name: str) -> None:
    """Build the page of a group. Raises ApiError when there is none."""
    body = await viewer.call("groups/get", thingGroupName=name)
    page = _Group(viewer, name, body)
    page.build()
    await page.read()


class _Group:
    def __init__(self, viewer: Viewer, name: str, body: Mapping[str, Any]) -> None:
        self.viewer = viewer
        self.name = name
        self.group = body

    def build(self) -> None:
        """Everything but the members."""
        viewer, names = self.viewer, {"thingGroupName": self.name}
        group, query = self.group, self.group.get("queryString")
        with tag("div", "jb-head"):
            heading(self.name).classes("jb-grow")
            with tag("div", "jb-row"):
                if viewer.may("jobs/create"):
                    path = with_query("/new", {"target": f"thinggroup/{self.name}"})
                    with tag("a", "jb-link-button", href=viewer.link(path), data_new=""):
                        words("Send a job")
                if query:
                    command_button(
                        viewer, "Query", "groups/update", self._edit, icon="edit", names=names
                    )
                else:
                    command_button(
                        viewer, "Add things", "groups/add", self._add, icon="add", names=names
                    )
                    command_button(
                        viewer, "Take out", "groups/remove", self._take, icon="remove", names=names
                    )
                command_button(
                    viewer, "Delete", "groups/delete", self._delete, icon="delete", names=names
                )
        with tag("div", "jb-card"):
            properties = group.get("thingGroupProperties", {})
            meta = group.get("thingGroupMetadata", {})
            facts(
                viewer,
                [
                    ("Kind", "of a query" if query else "of chosen things"),
                    ("Query", query),
                    ("Description", properties.get("thingGroupDescription")),
                    ("Parent", meta.get("parentGroupName")),
                    ("Created", Moment(meta["creationDate"])),
                    ("Version", group.get("version")),
                ],
            )
        with tag("div", "jb-head", style="margin-top:18px"):
            section("Its things")
        self.table = table(_MEMBERS, key="thing", label="Members")
        self.table.add_slot("body", _MEMBER)
        self.nothing = words("Nobody is in it.", "jb-empty", as_="p")
        self.pager = Pager(self.read)

    async def read(self) -> None:
        """Read the page of members."""
        body = await self.viewer.call(
            "groups/members",
            thingGroupName=self.name,
            maxResults=_ROWS,
            nextToken=self.pager.token,
        )
        rows = [{"thing": one, "href": self.viewer.link(thing_path(one))} for one in body["things"]]
        fill(self.table, rows)
        self.nothing.set_visibility(not rows)
        self.pager.show(body, len(rows))

    async def _add(self) -> None:
        await self._change("groups/add", "Add", "Added")

    async def _take(self) -> None:
        await self._change("groups/remove", "Take out", "Taken out:")

    async def _change(self, verb: str, label: str, done: str) -> None:
        def fields() -> ui.textarea:
            return ui.textarea("Names, one a line").props("outlined dense autogrow autofocus")

        sends = sent_as(verb, {"thingGroupName": self.name})
        area = await filled(f"{label}: things of {self.name}", fields, sends, label=label)
        names = (area.value or "").split() if area is not None else []
        if names:
            said = f"{done} {counted(len(names), 'thing')}"
            await send(self.viewer, verb, said, thingGroupName=self.name, thingNames=names)
            await self.read()

    async def _edit(self) -> None:
        def fields() -> ui.input:
            return query_field(self.viewer, "Query", self.group["queryString"])

        sends = sent_as("groups/update", {"thingGroupName": self.name})
        query = await filled(f"The query of {self.name}", fields, sends, label="Save")
        if query is None:
            return
        done = await send(
            self.viewer,
            "groups/update",
            "Saved",
            thingGroupName=self.name,
            queryString=(query.value or "").strip(),
            expectedVersion=self.group.get("version"),
        )
        if done is not None:
            ui.navigate.reload()

    async def _delete(self) -> None:
        done = await confirmed_sending(
            self.viewer,
            "groups/delete",
            f"Delete {self.name}?",
            "Its things stay.",
            typed=self.name,
            label="Delete it",
            thingGroupName=self.name,
        )
        if done is not None:
            ui.navigate.to("/groups")
