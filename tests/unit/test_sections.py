"""Sections that commands write into documents."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.bench import sections


def test_a_section_is_made_where_there_was_none(tmp_path: Path) -> None:
    """A missing file gets its title, a missing section comes at the end."""
    path = tmp_path / "reliability.md"
    sections.write(path, "one", "first", title="Reliability")
    sections.write(path, "two", "second\n", title="Reliability")
    assert path.read_text(encoding="utf-8") == (
        "# Reliability\n\n<!-- one -->\nfirst\n<!-- /one -->\n\n<!-- two -->\nsecond\n<!-- /two -->\n"
    )


def test_only_the_section_changes() -> None:
    """What others wrote around it stays as it is, byte by byte."""
    text = "# T\n\n<!-- a -->\nold\nlines\n<!-- /a -->\n\nwords \n<!-- b -->\nkept\n<!-- /b -->"
    expected = text.replace("old\nlines", "new")
    assert sections.replaced(text, "a", "new\n") == expected
    assert sections.replaced(expected, "a", "new") == expected


def test_a_lone_marker_is_refused() -> None:
    """With one marker alone nobody knows what may be replaced."""
    with pytest.raises(ValueError, match="section a: only one of"):
        sections.replaced("<!-- a -->\nwords\n", "a", "new")
