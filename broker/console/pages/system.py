"""How the broker does: its link, what waits to be told, timers, executions, requests; from /readyz and /metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from nicegui import ui
from prometheus_client.parser import text_string_to_metric_families

from broker.console.components import Tag, facts, heading, section, tag, words
from broker.console.viewer import Live, Viewer
from broker.console.words import grouped, lasting, word

Samples = dict[str, list[tuple[Mapping[str, str], float]]]
_UNKNOWN: Final = 401
_FINE: Final = 200


def samples_of(text: str) -> Samples:
    """Prometheus's text as samples by name, each with its labels."""
    found: Samples = defaultdict(list)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name].append((sample.labels, sample.value))
    return found


def total(samples: Samples, name: str, **labels: str) -> float:
    """The sum of the samples that have these labels."""
    return sum(value for have, value in samples.get(name, []) if labels.items() <= have.items())


async def show(viewer: Viewer) -> None:
    """Build the page."""
    page = _System(viewer)
    page.build()
    await page.refresh()
    Live(viewer, page.refresh, seconds=5.0)


class _System:
    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self._tiles: dict[str, tuple[Tag, Tag]] = {}

    def build(self) -> None:
        """The frame of the page."""
        heading("System")
        ui.separator().style("visibility:hidden;height:10px")
        with tag("div", "jb-tiles"):
            for name in (
                "State",
                "MQTT link",
                "Database",
                "To be told",
                "Oldest of it",
                "Timers late",
                "Memory",
            ):
                with tag("div", "jb-card"):
                    words(name, "jb-quiet", as_="div")
                    self._tiles[name] = (words("", "jb-number", as_="div"), words("", "jb-sub"))
        with tag("div", "jb-grid"):
            with tag("div", "jb-card"):
                section("Executions")
                self.executions = tag("div")
            with tag("div", "jb-card"):
                section("How late each timer is")
                self.timers = tag("div")
            with tag("div", "jb-card jb-span"):
                section("Requests refused, by operation and code")
                self.refused = tag("div")
            with tag("div", "jb-card"):
                section("How long it takes, on average")
                self.speed = tag("div")
            with tag("div", "jb-card"):
                section("The process that answers here")
                self.process = tag("div")

    async def refresh(self) -> None:
        """Read again."""
        status, _ = await self.viewer.api.text("/readyz")
        self._tile("State", "ready" if status == _FINE else "not ready", "as /readyz has it")
        status, text = await self.viewer.api.text("/metrics")
        if status == _UNKNOWN:
            self._tile("MQTT link", "?", "/metrics asks for a token of its own here")
            return
        samples = samples_of(text)
        self._show_tiles(samples)
        self._show_tables(samples)

    def _tile(self, name: str, value: str, more: str = "") -> None:
        number, said = self._tiles[name]
        number.say(value)
        said.say(more)

    def _show_tiles(self, samples: Samples) -> None:
        tenant = self.viewer.tenant
        link = total(samples, "jobbroker_mqtt_connected")
        self._tile("MQTT link", "up" if link else "down")
        self._tile("Database", "up" if total(samples, "jobbroker_database_up") else "away")
        rows = total(samples, "jobbroker_outbox_rows", tenant=tenant)
        self._tile("To be told", grouped(rows), "rows in the outbox")
        oldest = total(samples, "jobbroker_outbox_oldest_seconds", tenant=tenant)
        self._tile("Oldest of it", lasting(oldest))
        late = max(
            (value for _, value in samples.get("jobbroker_timer_late_seconds", [])), default=0
        )
        self._tile("Timers late", lasting(late), "the latest of them")
        memory = total(samples, "process_resident_memory_bytes")
        self._tile("Memory", f"{memory / 2**20:.0f} MB", "of the broker's process")

    def _show_tables(self, samples: Samples) -> None:
        tenant = self.viewer.tenant
        with _again(self.executions):
            found = [
                (word(have["status"]), grouped(value))
                for have, value in samples.get("jobbroker_executions", [])
                if have.get("tenant") == tenant
            ]
            facts(self.viewer, found)
        with _again(self.timers):
            rows = samples.get("jobbroker_timer_late_seconds", [])
            facts(self.viewer, [(have["timer"], lasting(value)) for have, value in rows])
        with _again(self.refused):
            rows = [
                one for one in samples.get("jobbroker_requests_total", []) if one[0]["code"] != "ok"
            ]
            facts(
                self.viewer,
                [(f"{have['operation']}: {have['code']}", grouped(value)) for have, value in rows],
            )
            if not rows:
                words("None over MQTT since the process began.", "jb-quiet")
        with _again(self.speed):
            facts(self.viewer, [(what, _mean(samples, name)) for what, name in _SPEEDS])
        with _again(self.process):
            began = total(samples, "process_start_time_seconds")
            facts(
                self.viewer,
                [
                    ("Since", self.viewer.at(began)),
                    ("CPU", lasting(total(samples, "process_cpu_seconds_total"))),
                    ("Open files", grouped(total(samples, "process_open_fds"))),
                    ("API", self.viewer.api.url),
                ],
            )


_SPEEDS: Final = (
    ("Update received to accepted", "jobbroker_update_accepted_seconds"),
    ("Job created to notified", "jobbroker_create_notify_seconds"),
    ("In the queue", "jobbroker_queue_wait_seconds"),
    ("At work", "jobbroker_run_seconds"),
)


def _mean(samples: Samples, name: str) -> str:
    count = total(samples, f"{name}_count")
    if not count:
        return "none yet"
    mean = total(samples, f"{name}_sum") / count
    return f"{1000 * mean:.1f} ms" if mean < 1 else lasting(mean)


def _again(place: Tag) -> Tag:
    place.clear()
    return place
