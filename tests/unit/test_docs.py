"""What the documents say is what the code does: links, examples, names, and the table of settings."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from broker.settings import describe
from schema import decode, device
from schema.errors import Code
from schema.rights import LEAST_ROLE
from schema.topics import DeviceTopic, Operation

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROTOCOL = ROOT / "docs" / "protocol.md"
THINGS_STACK = PROTOCOL.with_name("things-stack.md")
OPERATIONS = ROOT / "docs" / "operations.md"
pytestmark = pytest.mark.skipif(
    not all(page.exists() for page in (*PAGES, PROTOCOL, OPERATIONS)),
    reason="an installation without documents",
)


def outside_blocks(text: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The names that a page's headings have as link targets."""
    headings = re.findall(r"^#+ +(.+)$", outside_blocks(page.read_text("utf-8")), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def examples(page: Path) -> list[tuple[str, str]]:
    """Each JSON block of a page, with the mark behind `json`."""
    found = re.findall(
        r"^```json ?([^\n]*)\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    return [(str(mark), str(text)) for mark, text in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_resolve(page: Path) -> None:
    """Every link that is no URL leads to a file of the project, and to a heading that is there."""
    for link in re.findall(r"\]\(([^)\s]+)\)", outside_blocks(page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target), link


def test_every_example_is_json() -> None:
    """Every JSON block of the protocol can be parsed, and there are some of each kind."""
    found = examples(PROTOCOL)
    assert {bool(mark) for mark, _ in found} == {True, False}
    for _, text in found:
        assert isinstance(json.loads(text), dict), text


def test_every_example_of_a_request_is_accepted() -> None:
    """Requests in the protocol and of The Things Stack decode, and every command of operators has an example."""
    operations = {
        "start-next": DeviceTopic("default", "pump-1", Operation.START_NEXT),
        "describe": DeviceTopic("default", "pump-1", Operation.DESCRIBE, "fw-7"),
        "update": DeviceTopic("default", "pump-1", Operation.UPDATE, "fw-7"),
    }
    shown = set()
    for mark, text in [*examples(PROTOCOL), *examples(THINGS_STACK)]:
        if mark in operations:
            data = device.read_object(text.encode())
            device.decode(operations[mark], data, device.read_token(data))
        elif mark:
            decode.decode(mark, decode.read_object(text.encode()))
        shown.add(mark)
    assert shown - {""} == {*LEAST_ROLE, *operations} - {"events/follow"}


def test_every_code_is_explained() -> None:
    """Each code that a rejection can have stands in a table of the protocol."""
    rows = set(re.findall(r"^\| (\w+) \|", PROTOCOL.read_text("utf-8"), re.MULTILINE))
    assert {str(code) for code in Code} <= rows


def test_the_table_of_settings_is_the_programs() -> None:
    """The settings in operations.md are those that the program reads, in its words."""
    rows = [
        f"| `{name}` | {default} | {about.replace('|', chr(92) + '|')} |"
        for name, default, about in describe()
    ]
    text = OPERATIONS.read_text("utf-8")
    table = text.split("<!-- settings -->\n", 1)[1].split("\n<!-- end of settings -->", 1)[0]
    assert table.splitlines()[2:] == rows
