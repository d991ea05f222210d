"""The frame of every page: where one can go, who one is, whether it is live."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from nicegui import ui
from nicegui.events import GenericEventArguments

from broker.console.components import tag, words
from broker.console.viewer import Viewer


@dataclass(frozen=True, slots=True)
class Place:
    """An entry of the navigation."""

    path: str
    name: str
    icon: str


PLACES: Final = (
    Place("/", "Jobs", "list_alt"),
    Place("/things", "Things", "sensors"),
    Place("/groups", "Groups", "workspaces"),
    Place("/templates", "Templates", "content_copy"),
    Place("/failures", "Failures", "error_outline"),
    Place("/things-stack", "The Things Stack", "cell_tower"),
    Place("/events", "Events", "podcasts"),
    Place("/system", "System", "monitor_heart"),
)
KEYS: Final = (
    ("/", "go to the search field"),
    ("j", "next row"),
    ("k", "previous row"),
    ("Enter", "open the row"),
    ("n", "new job"),
    ("?", "this list"),
    ("Esc", "close what is open"),
)


@contextmanager
def frame(viewer: Viewer, here: str) -> Iterator[None]:
    """What is built inside stands in the frame; `here` is the path of the place that is marked."""
    ui.dark_mode(viewer.dark)
    _note_visibility(viewer)
    viewer.client.on_exception(viewer.complain)
    with tag("a", "jb-skip", href="#jb-main"):
        words("To the content")
    with ui.header().classes("jb-header"):
        menu = ui.button(icon="menu").props('flat round dense aria-label="Navigation"')
        menu.classes("jb-menu-button")
        with tag("a", "jb-brand", href=viewer.link("/")):
            tag("img", src=viewer.link("/console-static/icon.svg"), alt="", width="26", height="26")
            words("jobbroker")
        _badges(viewer)
        ui.space()
        _who(viewer)
    drawer = ui.left_drawer(value=False, bordered=True).classes("jb-drawer")
    drawer.props("show-if-above width=205 breakpoint=900")
    menu.on_click(drawer.toggle)
    with drawer, tag("nav", "jb-nav", aria_label="Places"):
        for place in PLACES:
            marks = {"aria_current": "page"} if place.path == here else {}
            with tag("a", "jb-place", href=viewer.link(place.path), **marks):
                ui.icon(place.icon).props('aria-hidden="true"')
                words(place.name)
    _help()
    with tag("main", "jb-main", id="jb-main", tabindex="-1"):
        _away_banner(viewer)
        yield


def _badges(viewer: Viewer) -> None:
    with tag("span", "jb-live", id="jb-live", role="status"):
        words("live", "jb-live-on")
        words("reconnecting", "jb-live-off")
    if viewer.api.read_only:
        words("read-only", "jb-badge")


def _who(viewer: Viewer) -> None:
    ui.button(icon="keyboard").props(
        'flat round dense aria-label="Keyboard shortcuts" id=jb-help'
    ).classes("jb-wide").on("click", js_handler="() => jobbroker.help()")
    ui.button(icon="contrast").props('flat round dense aria-label="Dark or light"').on(
        "click", js_handler="() => jobbroker.theme()"
    )
    with (
        ui.button(icon="account_circle").props(
            f'flat round dense aria-label="Signed in as {viewer.name}"'
        ),
        ui.menu().classes("jb-menu"),
    ):
        words(viewer.name, "jb-menu-name")
        words(f"{viewer.role} in {viewer.tenant}", "jb-quiet")
        words(f"Times in {viewer.zone.key}", "jb-quiet")
        with tag("form", method="post", action=viewer.link("/sign-out")):
            tag("button", "jb-plain-button", type="submit").say("Sign out")


def _help() -> None:
    with tag("dialog", "jb-help", id="jb-help-dialog", aria_label="Keyboard shortcuts"):
        words("Keyboard", "jb-h2")
        with tag("dl"):
            for key, what in KEYS:
                with tag("dt"), tag("kbd"):
                    words(key)
                with tag("dd"):
                    words(what)


def _away_banner(viewer: Viewer) -> None:
    with tag("div", "jb-banner", role="alert") as banner:
        text = words("")

    def show() -> None:
        banner.set_visibility(bool(viewer.lost))
        text.say(f"{viewer.lost}. What is shown is from before; trying again.")

    viewer.on_lost.append(show)
    show()


def _note_visibility(viewer: Viewer) -> None:
    def note(event: GenericEventArguments) -> None:
        viewer.visible = bool(event.args)

    ui.on("jobbroker_visible", note)
