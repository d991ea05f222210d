"""A job's things as cells of one canvas: a letter each, drawn by a script of ours."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from nicegui.element import Element
from nicegui.events import GenericEventArguments

from broker.console.components import have
from broker.console.words import counted

On = Callable[[int], Awaitable[None]]


class HeatMap(Element, component="static/heatmap.js"):
    """The canvas. on_pick and on_rest are called with the number of a cell: clicked, and pointed at for a while."""

    def __init__(self, on_pick: On, on_rest: On) -> None:
        """Stand empty until `draw`."""
        super().__init__()
        self.props["label"] = "All things by name, coloured by status"

        async def picked(event: GenericEventArguments) -> None:
            await on_pick(int(event.args))

        async def rested(event: GenericEventArguments) -> None:
            await on_rest(int(event.args))

        self.on("pick", picked)
        self.on("rest", rested)

    def draw(self, letters: str, statuses: Mapping[str, str], total: int) -> None:
        """Draw a letter for each thing, and cells without colour up to so many as there will be."""
        self.run_method("draw", letters, dict(statuses), total)

    def patch(self, start: int, letters: str) -> None:
        """Draw these cells again."""
        self.run_method("patch", start, letters)

    def say(self, number: int, name: str) -> None:
        """Show a cell's name to who still points at it."""
        self.run_method("name", number, name)

    def count(self, things: int) -> None:
        """Say how many there are to who cannot see them."""
        have(self, "label", f"{counted(things, 'thing')} by name, coloured by status")
