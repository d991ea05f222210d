"""What a soak came to: a table for the terminal, one object for programs, a section of docs/reliability.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from tests.soak.levels import Level
from tests.soak.run import Outcome
from tests.soak.sampling import LEAST_MEGABYTES

SECTION: Final = "soak"
_HEADINGS: Final = ("", "first", "last", "mean", "grew by", "may grow by", "")


def rows(levels: Sequence[Level]) -> list[tuple[str, ...]]:
    """One row for each quantity, and its verdict in the last column."""
    return [
        (
            one.name,
            _number(one.first),
            _number(one.last),
            _number(one.middle),
            _number(one.growth),
            _number(one.allowed),
            "level" if one.level else "GROWS",
        )
        for one in levels
    ]


def lines(outcome: Outcome) -> list[str]:
    """The table and the verdict for the terminal."""
    table = [_HEADINGS, *rows(outcome.levels)]
    widths = [max(len(row[column]) for row in table) for column in range(len(_HEADINGS))]
    told = [
        "  ".join(
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
    return [*told, "", _summary(outcome), _verdict(outcome)]


def markdown(outcome: Outcome, command: str) -> str:
    """The section's body; `command` is what makes it again."""
    soak, machine = outcome.soak, outcome.machine
    table = [_HEADINGS, ("---", *["---:"] * (len(_HEADINGS) - 2), "---"), *rows(outcome.levels)]
    return "\n".join(
        [
            "## Soak",
            "",
            f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, {machine['cpu']}, {machine['cores']} cores,",
            f"PostgreSQL, Mosquitto {machine['mosquitto']}, the broker and the load on the same machine.",
            "",
            _summary(outcome),
            f"A sample every {soak.sample_seconds:g} s; ended jobs are deleted after {soak.keep_seconds:g} s.",
            f"Watched from {outcome.settled / 60:.1f} minutes on: a line is fitted, and its rise until the end is",
            "what the quantity grew by. Memory and sizes may grow by a small share, or by what",
            f"{_leak(outcome):.0f} bytes kept of each life would come to.",
            "",
            *("| " + " | ".join(row) + " |" for row in table),
            "",
            f"**{_verdict(outcome)}**",
        ]
    )


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Everything, samples included."""
    return {
        "level": outcome.is_level,
        "lives": outcome.lives,
        "lives_per_s": round(outcome.lives_per_s, 1),
        "last_report_to_accepted_ms": outcome.took_ms,
        "soak": asdict(outcome.soak),
        "settled_s": outcome.settled,
        "levels": [asdict(one) for one in outcome.levels],
        "times_s": [round(at, 1) for at in outcome.times],
        "series": outcome.series,
        "tables": outcome.tables,
        "machine": outcome.machine,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _leak(outcome: Outcome) -> float:
    watched = outcome.lives_per_s * (outcome.soak.seconds - outcome.settled)
    return LEAST_MEGABYTES * 1_000_000 / max(watched, 1.0)


def _summary(outcome: Outcome) -> str:
    soak = outcome.soak
    took = outcome.took_ms
    text = (
        f"{soak.things:,} connected things, {soak.seconds / 60:g} minutes,"
        f" {outcome.lives:,} whole job lives ({outcome.lives_per_s:,.0f} a second of {soak.per_second:g} wanted)"
    )
    return text + (
        f"; update to accepted p50 {took['p50']:.1f}, p99 {took['p99']:.1f} ms." if took else "."
    )


def _verdict(outcome: Outcome) -> str:
    growing = [one.name for one in outcome.levels if not one.level]
    return f"growing: {', '.join(growing)}" if growing else "Level: nothing grows."


def _number(value: float) -> str:
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.2f}"
