"""A fleet in a file: CSV with a heading, a JSON list, or one JSON object a line; each line checked by itself."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from schema.decode import decode
from schema.errors import Rejected, shorten

_KNOWN: Final = (
    *("device_id", "dev_eui", "join_eui", "app_key", "nwk_key", "name"),
    *("lorawan_version", "lorawan_phy_version", "frequency_plan_id"),
)
_FIRST_OF_CSV: Final = 2  # the heading is line 1


class FleetFileError(Exception):
    """The file as a whole cannot be read; the text says why, and nothing of what is in it."""


@dataclass(frozen=True, slots=True)
class FleetLine:
    """A device of the file by its line, or its number in a JSON list; `problem` when it is none."""

    number: int
    device: dict[str, Any] = field(repr=False)
    problem: str = ""

    @property
    def device_id(self) -> str:
        """What it is called, as far as that can be told."""
        return str(self.device.get("device_id", ""))


def read_fleet(text: str, defaults: Mapping[str, str]) -> list[FleetLine]:
    """The devices of a file, each with `defaults` for what it does not say; what is wrong with one is its own problem.

    Raises FleetFileError for a file without devices, or with columns that nobody knows.
    """
    rows = list(_rows(text.lstrip("\ufeff"))) if text.strip() else []
    if not rows:
        raise FleetFileError("it has no devices")
    seen: dict[str, int] = {}
    return [_line(number, {**defaults, **row}, seen) for number, row in rows]


def _rows(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    start = text.lstrip()[:1]
    if start == "[":
        yield from enumerate(_objects(_json(text, "it")), 1)
    elif start == "{":
        lines = enumerate(text.splitlines(), 1)
        for number, line in lines:
            if line.strip():
                (device,) = _objects([_json(line, f"line {number}")])
                yield number, device
    else:
        yield from _csv(text)


def _csv(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True, restkey="", strict=True)
    try:
        names = [name.strip().lower() for name in reader.fieldnames or ()]
        unknown = [name for name in names if name not in _KNOWN]
        if unknown or "device_id" not in names:
            told = ", ".join(shorten(name, 20) for name in unknown[:5]) or "no device_id"
            raise FleetFileError(f"its heading has {told}; known are {', '.join(_KNOWN)}")
        reader.fieldnames = names
        for row in reader:
            number = reader.line_num
            if "" in row:
                raise FleetFileError(f"line {number} has more fields than the heading")
            yield (
                number,
                {name: value.strip() for name, value in row.items() if value and value.strip()},
            )
    except csv.Error as error:
        raise FleetFileError(f"line {reader.line_num}: {error}") from None


def _objects(found: object) -> Iterable[dict[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise FleetFileError("its JSON is no list of objects")
    return found


def _json(text: str, what: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise FleetFileError(f"{what} is not JSON") from None


def _line(number: int, device: dict[str, Any], seen: dict[str, int]) -> FleetLine:
    try:
        decode("ttn/devices/register", {"devices": [device]})
    except Rejected as refusal:
        return FleetLine(number, device, refusal.message.replace("devices.0.", ""))
    for name in ("device_id", "dev_eui"):
        word = f"{name} {str(device[name]).lower()}"
        before = seen.setdefault(word, number)
        if before != number:
            return FleetLine(number, device, f"{word} is in line {before} already")
    return FleetLine(number, device)
