"""To whom a new job goes: groups and things by name, groups by a query, with what that is now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from nicegui import ui
from nicegui.elements.mixins.value_element import ValueElement

from broker.console.api import ApiError
from broker.console.components import Latest, section, tag, words
from broker.console.draft import Draft
from broker.console.viewer import Viewer

_FOUND: Final = 30
_FIELD: Final = "outlined dense"


class TargetPicker:
    """The card with what is chosen, a search, and what it finds."""

    def __init__(
        self,
        viewer: Viewer,
        draft: Draft,
        changed: Callable[[], None],
        bind: Callable[[ValueElement[Any], str], object],
    ) -> None:
        """Build the card where it stands."""
        self.viewer = viewer
        self.draft = draft
        self._changed = changed
        self._latest = Latest()
        with tag("div", "jb-card"):
            section("To whom")
            self._chosen = tag("div", "jb-row jb-picked")
            with tag("div", "jb-fields"):
                kind = ui.toggle(
                    {"thinggroup": "Groups", "thing": "Things"}, value="thinggroup"
                ).props("no-caps dense unelevated")
                name = ui.input("Name begins with").props(_FIELD + " debounce=200 clearable")
            self._found = tag("div", "jb-row jb-found", role="group", aria_label="Found")

            async def find() -> None:
                await self._find(str(kind.value), str(name.value or ""))

            kind.on_value_change(find)
            name.on_value_change(find)
            ui.timer(0.05, find, once=True)
            box = ui.checkbox("Also for things that come to these groups later").props("dense")
            bind(box, "continuous")
        self._show()

    async def _find(self, kind: str, begins: str) -> None:
        verb, member, field = (
            ("groups/list", "thingGroups", "groupName")
            if kind == "thinggroup"
            else ("things/list", "things", "thingName")
        )
        is_latest = self._latest.ask()
        try:
            body = await self.viewer.call(verb, namePrefixFilter=begins or None, maxResults=_FOUND)
        except ApiError as error:
            ui.notify(error.message, type="negative")
            return
        if not is_latest():
            return
        self._found.clear()
        with self._found:
            for one in body[member]:
                arn = self.viewer.arn(kind, one[field])
                button = ui.button(one[field], icon="add", on_click=lambda arn=arn: self._add(arn))
                button.props("flat dense no-caps").props["aria-label"] = f"Add {one[field]}"
                if query := one.get("queryString"):
                    button.props["title"] = f"All that fit {query}"
            if "nextToken" in body:
                words("and more", "jb-quiet")
            if not body[member]:
                words("None is called like this.", "jb-quiet")

    def _add(self, arn: str) -> None:
        if arn not in self.draft.targets:
            self.draft.targets.append(arn)
            self._show()
            self._changed()

    def _remove(self, arn: str) -> None:
        self.draft.targets.remove(arn)
        self._show()
        self._changed()

    def _show(self) -> None:
        self._chosen.clear()
        with self._chosen:
            for arn in self.draft.targets:
                name = arn.rpartition(":")[2]
                button = ui.button(name, icon="close", on_click=lambda arn=arn: self._remove(arn))
                button.props("unelevated dense no-caps color=primary")
                button.props["aria-label"] = f"Take {name} away"
            if not self.draft.targets:
                words("Nobody yet: add groups or things.", "jb-quiet")
