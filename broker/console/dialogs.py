"""Dialogs: questions before harm, and forms of a few fields, each with the command that it sends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from nicegui import ui

from broker.console.api import Body, sent_as
from broker.console.components import code_block, send, words
from broker.console.viewer import Viewer

T = TypeVar("T")


@contextmanager
def titled(title: str) -> Iterator[ui.dialog]:
    """A dialog under construction; its heading is also its name for those who do not see it."""
    with ui.dialog() as dialog, ui.card().classes("jb-dialog"):
        dialog.props["aria-label"] = title
        words(title, "jb-h2", as_="h2")
        yield dialog


async def decided(
    question: str,
    consequence: str,
    sends: str,
    *,
    typed: str = "",
    label: str = "Yes",
    option: str = "",
) -> bool | None:
    """Ask before harm is done: None for no, else whether the `option` was chosen; with `typed`, these words first."""
    with titled(question) as dialog:
        words(consequence, as_="p")
        chosen = ui.checkbox(option).props("dense")
        chosen.set_visibility(bool(option))
        words(sends, "jb-quiet jb-mono", as_="p")
        box = ui.input(f'Type "{typed}"').props("outlined dense autofocus").classes("jb-full")
        box.set_visibility(bool(typed))
        with ui.row().classes("jb-buttons"):
            ui.button("No", on_click=lambda: dialog.submit("")).props("no-caps flat")
            go = ui.button(label, on_click=lambda: dialog.submit("yes"))
            go.props("no-caps unelevated color=negative")
        if typed:
            go.bind_enabled_from(box, "value", backward=lambda value: value == typed)
    answer = await dialog
    dialog.delete()
    return bool(chosen.value) if answer else None


async def confirmed(
    question: str, consequence: str, sends: str, *, typed: str = "", label: str = "Yes"
) -> bool:
    """Ask before harm is done; with `typed`, these words have to be typed first."""
    answer = await decided(question, consequence, sends, typed=typed, label=label)
    return answer is not None


async def confirmed_sending(
    viewer: Viewer,
    verb: str,
    question: str,
    consequence: str,
    *,
    label: str,
    typed: str = "",
    done: str = "",
    **given: object,
) -> Body | None:
    """Ask, and send the command on yes; None when nothing was done."""
    sends = sent_as(verb, given)
    if not await confirmed(question, consequence, sends, typed=typed, label=label):
        return None
    return await send(viewer, verb, done, **given)


async def filled(title: str, fields: Callable[[], T], sends: str, *, label: str) -> T | None:
    """Show a form of what `fields` builds; None when it was closed, else what `fields` gave, to be read."""
    with titled(title) as dialog:
        made = fields()
        words(sends, "jb-quiet jb-mono", as_="p")
        with ui.row().classes("jb-buttons"):
            ui.button("Close", on_click=lambda: dialog.submit("")).props("no-caps flat")
            ui.button(label, on_click=lambda: dialog.submit("yes")).props("no-caps unelevated")
    answer = await dialog
    dialog.delete()
    return made if answer else None


async def show_token(name: str, token: str) -> None:
    """A token, this once."""
    with titled(f"The token of {name}") as dialog:
        dialog.props("persistent")
        words("It is shown this once: username is the name, password the token.", as_="p")
        code_block(token, "the token")
        with ui.row().classes("jb-buttons"):
            ui.button("I have it", on_click=lambda: dialog.submit("yes")).props(
                "no-caps unelevated"
            )
    await dialog
    dialog.delete()
