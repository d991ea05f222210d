"""How the broker does: its link, what waits to be told, timers, requests, from /readyz and /metrics; and system/get.

The first two are the process that answers; system/get is all of them, as far as it is the reader's tenant's to see.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Any, Final

from nicegui import ui
from prometheus_client.parser import text_string_to_metric_families

from broker.console.api import ApiError
from broker.console.components import Tag, facts, fill, heading, section, table, tag, words
from broker.console.viewer import Live, Viewer
from broker.console.words import ENDED, counted, grouped, lasting, word

Samples = dict[str, list[tuple[Mapping[str, str], float]]]
_UNKNOWN: Final = 401
_FINE: Final = 200
_RATE_POINTS: Final = 24  # at five seconds each: two minutes


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
        self._seen: deque[tuple[float, Mapping[str, int]]] = deque(maxlen=_RATE_POINTS)

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
                section("A minute, in this tenant")
                self.rates = tag("div")
            with tag("div", "jb-card"):
                section("How late each timer is")
                self.timers = tag("div")
            with tag("div", "jb-card"):
                section("How long it takes, on average")
                self.speed = tag("div")
            with tag("div", "jb-card jb-span"):
                section("Refused lately, and why")
                self.reasons = table(_REFUSED, key="key", label="Requests refused lately")
                self.reasons.add_slot("body", _REFUSED_ROW)
                self.no_reasons = words("", "jb-quiet", as_="p")
            with tag("div", "jb-card jb-span") as self.slots_card:
                section("Who holds which slot")
                self.slots = table(_SLOTS, key="slot", label="Slots and who holds them")
                self.slots.add_slot("body-cell", _CELL)
            with tag("div", "jb-card jb-span") as self.tables_card:
                section("The database")
                self.size = words("", "jb-quiet", as_="p")
                self.tables = table(_TABLES, key="name", label="The largest tables")
                self.tables.add_slot("body-cell", _CELL)
            with tag("div", "jb-card"):
                section("Requests refused, by operation and code")
                self.refused = tag("div")
            with tag("div", "jb-card"):
                section("The process that answers here")
                self.process = tag("div")

    async def refresh(self) -> None:
        """Read again."""
        status, _ = await self.viewer.api.text("/readyz")
        self._tile("State", "ready" if status == _FINE else "not ready", "as /readyz has it")
        await self._show_system()
        status, text = await self.viewer.api.text("/metrics")
        if status == _UNKNOWN:
            self._tile("MQTT link", "?", "/metrics asks for a token of its own here")
            return
        samples = samples_of(text)
        self._show_tiles(samples)
        self._show_tables(samples)

    async def _show_system(self) -> None:
        """What system/get says; for who may not ask, why not."""
        body: dict[str, Any] = {}
        lacking = self.viewer.lacks("system/get")
        if not lacking:
            try:
                body = await self.viewer.look("system/get")
            except ApiError as error:
                if self.viewer.lost:
                    raise
                lacking = error.message
        rows = [self._refused(number, one) for number, one in enumerate(body.get("refused", []))]
        fill(self.reasons, rows)
        self.no_reasons.say("" if rows else lacking or "None.")
        self._show_rates(body.get("executions", {}), lacking)
        self.slots_card.set_visibility("slots" in body)
        self.tables_card.set_visibility("database" in body)
        fill(self.slots, [self._slot(one) for one in body.get("slots", [])])
        if "database" in body:
            found = body["database"]
            self.size.say(
                f"{megabytes(found['bytes'])} in all, {counted(found['connections'], 'connection')},"
                f" PostgreSQL {found['version']}"
            )
            fill(self.tables, [self._table(one) for one in found["tables"]])

    def _refused(self, number: int, one: Mapping[str, Any]) -> dict[str, Any]:
        both = self.viewer.both(one["at"])
        more = f" ({grouped(one['leftOut'])} more before it)" if one.get("leftOut") else ""
        return {
            "key": f"{one['at']}/{number}",
            "at": both["text"],
            "utc": both["utc"],
            "topic": one["topic"],
            "code": one["code"],
            "message": one["message"] + more,
        }

    def _slot(self, one: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "slot": one["slot"],
            "holder": one["holder"],
            "held": "yes" if one["held"] else "no: its session waits to be taken over",
            "since": self.viewer.at(one["since"]),
            "renewed": f"{lasting(max(0, time.time() - one['renewedAt']))} ago",
        }

    def _table(self, one: Mapping[str, Any]) -> dict[str, Any]:
        rows = one["live"] + one["dead"]
        share = f" ({100 * one['dead'] / rows:.0f} %)" if rows else ""
        return {
            "name": one["name"],
            "live": grouped(one["live"]),
            "dead": grouped(one["dead"]) + share,
            "size": megabytes(one["bytes"]),
            "indexes": megabytes(one["indexBytes"]),
            "vacuumed": self.viewer.at(one["vacuumedAt"]) if "vacuumedAt" in one else "never",
        }

    def _show_rates(self, found: Mapping[str, int], lacking: str) -> None:
        if found:
            self._seen.append((time.monotonic(), found))
        with _again(self.rates):
            if lacking:
                words(lacking, "jb-quiet")
                return
            (began, before), (now, after) = self._seen[0], self._seen[-1]
            if now == began:
                words("Seen from the next look on.", "jb-quiet")
                return
            told = max(0, sum(after.values()) - sum(before.values()))  # fewer: a job was deleted
            over = sum(max(0, after[one] - before[one]) for one in ENDED)
            failed = sum(max(0, after[one] - before[one]) for one in _FAILED)
            minutes = (now - began) / 60
            facts(
                self.viewer,
                [
                    ("Told", rate(told, minutes)),
                    ("Ended", rate(over, minutes)),
                    ("Failed of them", rate(failed, minutes)),
                    ("Seen for", lasting(now - began)),
                ],
            )

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


def _columns(**labels: str) -> tuple[dict[str, str], ...]:
    return tuple({"name": name, "label": label, "field": name} for name, label in labels.items())


_FAILED: Final = ("FAILED", "TIMED_OUT", "REJECTED")
_REFUSED: Final = _columns(at="When", topic="Topic", code="Code", message="Why")
_REFUSED_ROW: Final = r"""
<q-tr :props="props">
  <q-td><time :title="props.row.utc">{{ props.row.at }}</time></q-td>
  <q-td class="jb-block"><span class="jb-mono">{{ props.row.topic }}</span></q-td>
  <q-td class="jb-aside">{{ props.row.code }}</q-td>
  <q-td class="jb-block">{{ props.row.message }}</q-td>
</q-tr>
"""
# A phone has no room for the headings: there each cell says what it is.
_CELL: Final = r"""
<q-td :props="props"><span class="jb-label">{{ props.col.label }}</span>{{ props.value }}</q-td>
"""
_SLOTS: Final = _columns(
    slot="Slot", holder="Holder", held="Held", since="Since", renewed="Renewed"
)
_TABLES: Final = _columns(
    name="Table",
    live="Rows",
    dead="Dead",
    size="Size",
    indexes="Indexes of it",
    vacuumed="Vacuumed",
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


def rate(number: int, minutes: float) -> str:
    """So many a minute."""
    return f"{number / minutes:.1f}" if abs(number) < 100 * minutes else grouped(number / minutes)


def megabytes(size: int) -> str:
    """Bytes as people read them."""
    return f"{size / 2**20:,.1f} MB" if size < 2**30 else f"{size / 2**30:,.1f} GB"


def _again(place: Tag) -> Tag:
    place.clear()
    return place
