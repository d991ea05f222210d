"""A job's curves and its heat map: read when it is looked at, drawn when something has changed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from nicegui import ui

from broker.console.api import ApiError
from broker.console.components import section, tag, words
from broker.console.heatmap import HeatMap, Progress, read_progress, thing_at
from broker.console.links import execution_path
from broker.console.viewer import Viewer
from broker.console.words import counted, counts, cumulated
from schema.course import course
from schema.forecast import plan
from schema.lifecycle import Status
from schema.rollout import RolloutConfig
from schema.stages import Stage
from schema.windows import SchedulingConfig

_CURVE_POINTS: Final = 240
_AXIS: Final = {"color": "#808a97"}  # to be read in the dark and in the light


class Drawing:
    """Two cards, built where they stand. `job` is the job as it was read last, and `stages` its stages."""

    def __init__(self, viewer: Viewer, job_id: str, body: Mapping[str, Any]) -> None:
        """Build the cards, still empty; body is what jobs/get answered."""
        self.viewer = viewer
        self.job_id = job_id
        self.look_at(body)
        self._progress = Progress()
        self._drawn_at = 0.0
        self._took = 0.0
        self._drawn_counts: dict[Status, int] | None = None
        with tag("div", "jb-card jb-span"):
            section("Planned and actual")
            self.chart = ui.echart(_chart_options()).classes("jb-chart")
            self.chart.props["role"] = "img"
            self.chart.props["aria-label"] = "Things told and ended over time, and the plan"
        with tag("div", "jb-card jb-span"):
            section("Every thing, by name")
            self.heat = HeatMap(self._pick)
            self.heat_note = words("", "jb-quiet")

    def look_at(self, body: Mapping[str, Any]) -> None:
        """Take the job as jobs/get answers it now."""
        self.job: Mapping[str, Any] = body["job"]
        self.stages: Sequence[Mapping[str, Any]] = body.get("stages") or []

    async def draw(self) -> None:
        """Read all things and draw them, and the curves."""
        began = time.monotonic()
        passed = max(60, (self.job.get("completedAt") or time.time()) - self.job["createdAt"])
        width = max(1, round(passed / _CURVE_POINTS))
        self._drawn_counts = counts(self.job)
        try:
            self._progress = await read_progress(self.viewer, self.job_id, width)
        except ApiError:
            return  # the page's own reading says what is wrong
        self.heat.draw(self._progress.letters, self._progress.statuses)
        if not self._progress.is_whole:
            self.heat_note.say(f"the first {counted(len(self._progress.letters), 'thing')}")
        self._draw_curves(width)
        self._drawn_at, self._took = time.monotonic(), time.monotonic() - began

    async def draw_again(self) -> None:
        """Draw when something has changed, and no more often than a twentieth of the time it takes."""
        rests = max(2.0, 20 * self._took)
        if not self.viewer.visible or time.monotonic() - self._drawn_at < rests:
            return
        if self._drawn_counts != counts(self.job):
            await self.draw()

    def _draw_curves(self, width: int) -> None:
        begun = self.job["createdAt"]
        until = round((self.job.get("completedAt") or time.time()) - begun)
        curves = self._progress.curves
        told = cumulated(curves.get("queued", {}), width, until)
        over = cumulated(curves.get("ended", {}), width, until)
        drawn: tuple[Sequence[tuple[float, int]], ...] = (self._planned(), told, over)
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
        thing = await thing_at(self.viewer, self.job_id, number)
        if thing is not None:
            ui.navigate.to(execution_path(self.job_id, thing))


def _chart_options() -> dict[str, Any]:
    line = {"type": "line", "showSymbol": False, "data": []}
    return {
        "animation": False,
        "grid": {"left": 56, "right": 20, "top": 34, "bottom": 30},
        "legend": {
            "data": ["planned", "told", "ended"],
            "top": 0,
            "textStyle": {"color": "#808a97"},
        },
        "tooltip": {"trigger": "axis"},
        "xAxis": {"type": "time", "splitLine": {"show": False}, "axisLabel": _AXIS},
        "yAxis": {
            "type": "value",
            "minInterval": 1,
            "axisLabel": _AXIS,
            "splitLine": {"lineStyle": {"opacity": 0.25}},
        },
        "series": [
            {
                **line,
                "name": "planned",
                "lineStyle": {"type": "dashed"},
                "itemStyle": {"color": "#98a3b2"},
            },
            {**line, "name": "told", "step": "end", "itemStyle": {"color": "#2f7de1"}},
            {
                **line,
                "name": "ended",
                "step": "end",
                "areaStyle": {"opacity": 0.15},
                "itemStyle": {"color": "#2e9e5b"},
            },
        ],
    }
