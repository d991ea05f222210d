"""Sections of a document that commands write: what stands between `<!-- name -->` and `<!-- /name -->`."""

from __future__ import annotations

from pathlib import Path


def replaced(text: str, name: str, body: str) -> str:
    """The text with this section's body; a section that is not there yet comes at the end.

    Raises ValueError when only one of the two markers is there: which part is ours cannot be told.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    section = f"{begin}\n{body.strip()}\n{end}"
    if (begin in text) != (end in text):
        msg = f"section {name}: only one of {begin} and {end} is there"
        raise ValueError(msg)
    if begin not in text:
        before = text.rstrip()
        return f"{before}\n\n{section}\n" if before else f"{section}\n"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return before + section + after


def write(path: Path, name: str, body: str, *, title: str) -> None:
    """Put the section's body into a file; one that is missing begins with `# title`."""
    text = path.read_text(encoding="utf-8") if path.exists() else f"# {title}\n"
    path.write_text(replaced(text, name, body), encoding="utf-8")
