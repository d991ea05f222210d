"""Questions before something happens at The Things Stack: which key and place, what to take away, which devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from nicegui import ui

from broker.console.api import sent_as
from broker.console.components import words
from broker.console.dialogs import titled

Given = dict[str, object]
_FIELDS: Final = (
    ("region", "Region, such as eu1; or leave it and name hosts"),
    ("identity_host", "Identity server, HOST[:PORT]"),
    ("regional_host", "Regional servers, if other"),
    ("application_id", "Application that is there already"),
    ("ttn_organization_id", "Organization that is there already"),
    ("organization_name", "Name of the organization"),
    ("organization_id", "Another organization of yours: its UUID"),
)


async def _asked(
    heading: str, body: Callable[[], dict[str, Any]], verb: str, label: str, *, typed: str = ""
) -> Given | None:
    """Fields in a dialog; what was filled in, or None. With `typed`, these words have to be typed first."""
    with titled(heading) as dialog:
        fields = body()
        box = ui.input(f'Type "{typed}" to go on').props("outlined dense") if typed else None
        words(sent_as(verb, {}), "jb-quiet jb-mono", as_="p")
        with ui.row().classes("jb-buttons"):
            ui.button("Close", on_click=lambda: dialog.submit("")).props("no-caps flat")
            go = ui.button(label, on_click=lambda: dialog.submit("yes")).props("no-caps unelevated")
        if box is not None:
            go.props("color=negative")
            go.bind_enabled_from(box, "value", backward=lambda value: value == typed)
    wanted = await dialog
    dialog.delete()
    return {name: field.value or None for name, field in fields.items()} if wanted else None


async def ask_connection() -> Given | None:
    """What ttn/credentials/set is to be told."""

    def body() -> dict[str, Any]:
        key = ui.input("API key", password=True).props("outlined dense autofocus autocomplete=off")
        rest = {name: ui.input(label).props("outlined dense") for name, label in _FIELDS}
        return {"api_key": key, **rest}

    return await _asked("Connect to The Things Stack", body, "ttn/credentials/set", "Connect")


async def ask_deprovision() -> Given | None:
    """What ttn/deprovision is to take away."""

    def body() -> dict[str, Any]:
        words(
            "Everything of the connection goes: devices in all registries, application, organization.",
            as_="p",
        )
        return {
            "application_id": ui.input("This application alone").props("outlined dense"),
            "device": ui.input("This device alone").props("outlined dense"),
            "dry_run": ui.checkbox("Only look, change nothing", value=True),
        }

    return await _asked(
        "Take it out of The Things Stack",
        body,
        "ttn/deprovision",
        "Deprovision",
        typed="deprovision",
    )


async def ask_deep_clean() -> Given | None:
    """How ttn/deep-clean is to be done."""

    def body() -> dict[str, Any]:
        words(
            "Everything that the key's owner has there for this connection is taken away, as a run; the key that was"
            " brought in stays, so that it can be provisioned anew.",
            as_="p",
        )
        return {"dry_run": ui.checkbox("Only look, change nothing", value=True)}

    return await _asked("Deep clean", body, "ttn/deep-clean", "Deep clean", typed="deep clean")
