"""A job's curves and its heat map, as its picture has them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from nicegui import ui

from broker.console.api import ApiError
from broker.console.components import section, tag, words
from broker.console.heatmap import HeatMap
from broker.console.links import execution_path
from broker.console.picture import MOST_DRAWN, Pictures
from broker.console.viewer import Viewer
from broker.console.words import counted, counts
from schema.course import course
from schema.forecast import plan
from schema.rollout import RolloutConfig
from schema.stages import Stage
from schema.windows import SchedulingConfig

_CURVE_SECONDS: Final = 10.0  # while nothing happens, time goes on
_LEAST_CURVE_SECONDS: Final = 4.0  # of a job that goes on: hundreds of points for each reader
_CURVES: Final = ("planned", "told", "ended")
_AXIS: Final = {"color": "#808a97"}  # to be read in the dark and in the light


class Drawing:
    """Two cards, built where they stand. `job` is the job as it was read last, and `stages` its stages."""

    def __init__(
        self, viewer: Viewer, pictures: Pictures, job_id: str, body: Mapping[str, Any]
    ) -> None:
        """Build the cards, still empty, and watch the job as long as the page is open; body: what jobs/get answered."""
        self.viewer = viewer
        self.job_id = job_id
        self.look_at(body)
        self._picture, leave = pictures.join(viewer.tenant, job_id, self)
        viewer.client.on_delete(leave)
        self._begun = False
        self._is_open = False
        self._statuses: dict[str, str] = {}
        self._drawn: object = None
        self._drawn_at = 0.0
        with tag("div", "jb-card jb-span"):
            section("Planned and actual")
            self.chart = ui.echart(_chart_options()).classes("jb-chart")
            self.chart.props["role"] = "img"
            self.chart.props["aria-label"] = "Things told and ended over time, and the plan"
        with tag("div", "jb-card jb-span"):
            section("Every thing, by name")
            self.heat = HeatMap(self._pick, self._name)
            self.heat_note = words("", "jb-quiet")

    def look_at(self, body: Mapping[str, Any]) -> None:
        """Take the job as jobs/get answers it now."""
        self.job: Mapping[str, Any] = body["job"]
        self.stages: Sequence[Mapping[str, Any]] = body.get("stages") or []

    async def open(self) -> None:
        """It is to be seen now: draw."""
        self._is_open = True
        await self.draw()

    def close(self) -> None:
        """It is not to be seen; when it is again, all of it is drawn."""
        self._is_open = self._begun = False

    async def draw(self) -> None:
        """Draw what is read already, and read on while somebody looks."""
        if not self._is_open or not self.viewer.is_looking:
            return
        if not self._begun:
            self._begun = True
            self.changed()
        try:
            await self._picture.step(self.viewer.call, self.job)
        except ApiError:
            return  # the page's own reading says what is wrong
        letters = len(self._picture.letters)
        self.heat.count(letters)
        if not self._picture.is_whole:
            self.heat_note.say(f"the first {counted(letters, 'thing')}")
        if self._picture.is_read:
            self._draw_curves()

    def patched(self, start: int, letters: str) -> None:
        """Some cells are others, or new."""
        if self._statuses != self._picture.statuses:
            self.changed()
        elif self._begun:
            with self.viewer.client:
                self.heat.patch(start, letters)

    def changed(self) -> None:
        """All cells are to be drawn again."""
        if self._begun:
            self._statuses = self._picture.statuses
            total = min(sum(counts(self.job).values()), MOST_DRAWN)
            with self.viewer.client:
                self.heat.draw(self._picture.letters, self._picture.statuses, total)

    def _draw_curves(self) -> None:
        now = (counts(self.job), self.job.get("completedAt"))
        rested = time.monotonic() - self._drawn_at
        if now == self._drawn and (now[1] or rested < _CURVE_SECONDS):
            return
        if not now[1] and rested < _LEAST_CURVE_SECONDS:
            return
        self._drawn, self._drawn_at = now, time.monotonic()
        begun = self.job["createdAt"]
        until = round((self.job.get("completedAt") or time.time()) - begun)
        drawn: tuple[Sequence[tuple[float, int]], ...]
        drawn = (self._planned(), *self._picture.curves(until))
        shown = [name for name, points in zip(_CURVES, drawn, strict=True) if points]
        self.chart.options["legend"]["data"] = shown
        lines: list[dict[str, Any]] = self.chart.options["series"]
        for series, points in zip(lines, drawn, strict=True):
            series["data"] = [[1000 * (begun + seconds), number] for seconds, number in points]
        self.chart.update()

    def _planned(self) -> list[tuple[float, int]]:
        """Seconds since the job was created, and the things that were to be told by then."""
        config = self.job.get("jobExecutionsRolloutConfig") or {}
        if not config and not self.stages:
            return []
        held = [int(one["numberOfThings"]) for one in self.stages]
        things = sum(held) if held else int(self.job.get("executionCount", 0))
        begun = datetime.fromtimestamp(self.job["createdAt"], UTC)
        found = course(
            plan(RolloutConfig.model_validate(config), things, succeed_after=60.0),
            SchedulingConfig.model_validate(self.job.get("schedulingConfig") or {}).schedule(),
            begun,
            stages=[Stage.model_validate(one["config"]) for one in self.stages],
            held=held,
        )
        points = [(60.0 * one.minute, one.things) for one in found.by_minute()]
        if found.told_at is None:
            return points
        lasts = (found.told_at - begun).total_seconds()
        return [one for one in points if one[0] < lasts] + [(lasts, things)]

    async def _pick(self, number: int) -> None:
        thing = await self._picture.name_of(self.viewer.call, number)
        if thing is not None:
            ui.navigate.to(execution_path(self.job_id, thing))

    async def _name(self, number: int) -> None:
        thing = await self._picture.name_of(self.viewer.call, number)
        if thing is not None:
            self.heat.say(number, thing)


def _chart_options() -> dict[str, Any]:
    line = {"type": "line", "showSymbol": False, "data": []}
    return {
        "animation": False,
        "grid": {"left": 56, "right": 20, "top": 34, "bottom": 30},
        "legend": {
            "data": [],
            "icon": "roundRect",
            "itemWidth": 16,
            "itemHeight": 4,
            "top": 0,
            "textStyle": _AXIS,
        },
        "tooltip": {"trigger": "axis"},
        "xAxis": {
            "type": "time",
            "splitLine": {"show": False},
            "axisLabel": {**_AXIS, "hideOverlap": True},
        },
        "yAxis": {
            "type": "value",
            "minInterval": 1,
            "axisLabel": _AXIS,
            "splitLine": {"lineStyle": {"opacity": 0.25}},
        },
        "series": [
            {
                **line,
                "name": _CURVES[0],
                "lineStyle": {"type": "dashed"},
                "itemStyle": {"color": "#98a3b2"},
            },
            {**line, "name": _CURVES[1], "step": "end", "itemStyle": {"color": "#2f7de1"}},
            {
                **line,
                "name": _CURVES[2],
                "step": "end",
                "areaStyle": {"opacity": 0.15},
                "itemStyle": {"color": "#2e9e5b"},
            },
        ],
    }
