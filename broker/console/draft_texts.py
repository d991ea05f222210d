"""A job's document and its parameters as texts of the form: read, and what is wrong in them marked."""

from __future__ import annotations

import json
from typing import Any

from broker.console.draft_rows import DraftError


def document_of(text: str) -> dict[str, Any]:
    """A document as it is sent. Raises DraftError with the place of what is wrong."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise DraftError(
            f"document: line {error.lineno}, column {error.colno}: {error.msg}",
            marked(text, error.lineno, error.colno),
        ) from None
    if not isinstance(found, dict):
        raise DraftError("document: a JSON object is needed: { ... }")
    return found


def parameters_of(text: str) -> dict[str, str]:
    """Parameters by name, from lines of name=value. Raises DraftError."""
    found: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, value = line.partition("=")
        if not equals:
            raise DraftError(f"parameters: {line[:60]!r} is no name=value")
        found[name.strip()] = value.strip()
    return found


def pretty(text: str) -> str:
    """A document as people read it; what is no JSON stays as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def marked(text: str, line: int, column: int) -> str:
    """A line of a text with its neighbours, and a mark under a place in it."""
    lines = text.splitlines() or [""]
    at = min(max(line, 1), len(lines))
    shown = []
    for number in range(max(1, at - 1), min(len(lines), at + 1) + 1):
        shown.append(f"{number:>4} | {lines[number - 1]}")
        if number == at:
            shown.append("     | " + " " * (column - 1) + "^")
    return "\n".join(shown)


def placeholder_marked(document: str, message: str) -> str:
    """The excerpt for a refusal that names a placeholder; "" when it names none that is in the document."""
    begin = message.find("'${")
    end = message.find("}'", begin)
    if begin < 0 or end < 0:
        return ""
    at = document.find(message[begin + 1 : end + 1])
    if at < 0:
        return ""
    before = document[:at]
    return marked(document, before.count("\n") + 1, at - before.rfind("\n"))
