"""What pages are made of: elements by tag, bars, moments, buttons that say what they send, tables and their pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from broker.console.api import ApiError, Body, sent_as
from broker.console.viewer import Viewer
from broker.console.words import bar, bar_text, word
from schema.lifecycle import Status

Click = Callable[[], Awaitable[None] | None]


class Tag(TextElement):
    """An element of HTML, with text or with what is built inside it."""

    def __init__(self, name: str) -> None:
        """Take the element's name."""
        super().__init__(tag=name, text="")

    def say(self, text: str) -> None:
        """Show another text."""
        self.set_text(text)


def tag(name: str, classes: str = "", **attributes: str) -> Tag:
    """An element of HTML with its attributes; `aria_label` becomes aria-label. Values are text, never markup."""
    made = Tag(name)
    if classes:
        made.classes(classes)
    for key, value in attributes.items():
        made.props[key.rstrip("_").replace("_", "-")] = value
    return made


def words(text: str, classes: str = "", *, as_: str = "span", title: str = "") -> Tag:
    """A text, with a hint for who points at it."""
    made = tag(as_, classes, **({"title": title} if title else {}))
    made.say(text)
    return made


def heading(text: str) -> Tag:
    """The page's heading."""
    ui.page_title(f"{text} - jobbroker")
    return words(text, "jb-h1", as_="h1")


def section(text: str) -> Tag:
    """A heading inside the page."""
    return words(text, "jb-h2", as_="h2")


def at(viewer: Viewer, epoch: float | None, classes: str = "") -> Tag:
    """A moment in the reader's zone, with UTC as its hint."""
    both = viewer.both(epoch)
    return words(both["text"], classes, as_="time", title=both["utc"])


def status_chip(status: str) -> Tag:
    """A status as a coloured word."""
    return words(word(status), f"jb-status st-{status}")


def have(element: Element, name: str, value: str) -> None:
    """Give an element's property a value; the browser is told of a change alone."""
    if element.props.get(name) != value:
        element.props[name] = value


def press(button: Tag, *, pressed: bool) -> None:
    """Have a button of a choice say whether it is the one."""
    have(button, "aria-pressed", "true" if pressed else "false")


class Latest:
    """Questions that may overtake one another: only the answer to the last one counts."""

    def __init__(self) -> None:
        """Nothing is asked yet."""
        self._turn = 0

    def ask(self) -> Callable[[], bool]:
        """Ask one more; what is returned says whether it still is the last."""
        self._turn += 1
        turn = self._turn
        return lambda: turn == self._turn


class StatusBar:
    """A stacked bar of a job's things by status, with its meaning for who cannot see it."""

    def __init__(self) -> None:
        """Stand empty until `show`."""
        self._drawn: object = None
        self._parts: dict[str, Tag] = {}
        self._row = tag("div", "jb-bar")

    def show(self, found: Mapping[Status, int], total: int) -> None:
        """Draw these counts of so many things."""
        drawn = (dict(found), total)
        if drawn == self._drawn:
            return
        self._drawn = drawn
        have(self._row, "role", "img")  # not before it has a name
        for name in ("aria-label", "title"):
            have(self._row, name, bar_text(found, total))
        widths = {part["status"]: f"width:{part['share']}%" for part in bar(found, total)}
        if widths.keys() != self._parts.keys():
            self._row.clear()
            with self._row:
                self._parts = {status: tag("span", f"bg-{status}") for status in widths}
        for status, width in widths.items():
            have(self._parts[status], "style", width)


def command_button(
    viewer: Viewer,
    label: str,
    verb: str,
    on_click: Click,
    *,
    icon: str | None = None,
    names: Mapping[str, object] | None = None,
    kind: str = "outline",
) -> ui.button:
    """A button that sends a command, says which, and is off with its reason for who may not.

    kind: Quasar's look, such as outline, unelevated, flat.
    """
    made = ui.button(label, icon=icon, on_click=on_click).props(f"no-caps dense {kind}")
    made.classes("jb-button")
    lacking = viewer.lacks(verb)
    made.props["title"] = f"{label}: {lacking or sent_as(verb, names or {})}"
    if lacking:
        made.disable()
    return made


async def send(viewer: Viewer, verb: str, done: str = "", **given: object) -> Body | None:
    """Send a command and say what came of it; None when it was refused, which is said too."""
    try:
        body = await viewer.call(verb, **given)
    except ApiError as error:
        ui.notify(
            f"{error.message} ({error.code})", type="negative", timeout=8000, close_button="Close"
        )
        return None
    if done:
        ui.notify(done, type="positive")
    return body


def code_block(text: str, what: str) -> None:
    """A text in a fixed font with a button that copies it, also where the page came by plain HTTP."""
    with tag("div", "jb-code"):
        words(text, as_="pre").props["tabindex"] = "0"
        ui.button(icon="content_copy").props("flat round dense size=sm").props(
            f'aria-label="Copy {what}"'
        ).on("click", js_handler="(event) => jobbroker.copy(event)")


def empty(text: str, hint: str, link: tuple[str, str] | None = None) -> None:
    """What stands where nothing is yet: what to do first."""
    with tag("div", "jb-empty"):
        words(text, "jb-h2", as_="p")
        words(hint, as_="p")
        if link is not None:
            with tag("a", "jb-link-button", href=link[1]):
                words(link[0])


class Moment(float):
    """A fact that is a moment, in epoch seconds."""


def facts(viewer: Viewer, rows: Sequence[tuple[str, Any]]) -> None:
    """Names and values; those without a value are left out."""
    with tag("dl", "jb-facts"):
        for name, value in rows:
            if value in (None, "", [], {}):
                continue
            words(name, as_="dt")
            if isinstance(value, Moment):
                with tag("dd"):
                    at(viewer, value)
            else:
                words(str(value), as_="dd")


class Pager:
    """Keyset paging: on by the token of the next page, back by those remembered."""

    def __init__(self, on_turn: Click) -> None:
        """Stand at the first page; on_turn reads the page that `token` names."""
        self.token: str | None = None
        self._before: list[str | None] = []
        self._next: str | None = None
        self._on_turn = on_turn
        with tag("div", "jb-pager"):
            self._back = ui.button(icon="chevron_left", on_click=self._turn_back).props(
                _PAGER.format("Previous page")
            )
            self._where = words("", "jb-quiet")
            self._on = ui.button(icon="chevron_right", on_click=self._turn_on).props(
                _PAGER.format("Next page")
            )

    def first(self, token: str | None = None) -> None:
        """Go to the first page, or to the one of a link."""
        self.token, self._before = token, []

    def show(self, body: Mapping[str, Any], number: int) -> None:
        """Say where we are, by the page that was read and the rows it has."""
        self._next = body.get("nextToken")
        page = len(self._before) + 1
        self._where.say(f"page {page}, {number} here" if self._next or page > 1 else "")
        self._back.set_enabled(bool(self._before))
        self._on.set_enabled(self._next is not None)
        shown = bool(self._next or self._before)
        self._back.set_visibility(shown)
        self._on.set_visibility(shown)

    def _turn_on(self) -> Awaitable[None] | None:
        self._before.append(self.token)
        self.token = self._next
        return self._on_turn()

    def _turn_back(self) -> Awaitable[None] | None:
        self.token = self._before.pop()
        return self._on_turn()


_PAGER: Final = 'flat round dense aria-label="{}"'


def table(
    columns: Sequence[Mapping[str, Any]], *, key: str, label: str, selection: bool = False
) -> ui.table:
    """A table whose rows come later; `label` names it."""
    made = ui.table(
        columns=[dict(one) for one in columns],
        column_defaults={"align": "left", "headerClasses": "jb-th"},
        rows=[],
        row_key=key,
        selection="multiple" if selection else None,
        pagination=0,
    ).classes("jb-table")
    made.props("flat dense hide-bottom wrap-cells role=region")
    made.props["aria-label"] = label
    if selection:
        made.add_slot("header-selection", _ALL)
    return made


def fill(place: ui.table, rows: list[dict[str, Any]]) -> None:
    """Show these rows, and no table without any; the browser is told of a change alone."""
    if rows != place.rows:
        place.rows = rows
    place.set_visibility(bool(rows))


_ALL: Final = '<q-checkbox v-model="props.selected" dense aria-label="Choose all" />'
