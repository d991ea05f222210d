"""/docs: the operations of /openapi.json on one page, which needs no script and no outside host."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

_HEAD: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>jobbroker: HTTP</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b;background:#fff}
summary{cursor:pointer;padding:.3rem 0}code,pre{font:14px/1.4 ui-monospace,monospace}
pre{background:#f3f3f3;padding:.6rem;overflow-x:auto}.m{display:inline-block;width:4.5rem;font-weight:600}
table{border-collapse:collapse}td{padding:.1rem .8rem .1rem 0;vertical-align:top}
@media (prefers-color-scheme:dark){body{color:#ddd;background:#161616}pre{background:#242424}a{color:#8ab4f8}}
</style></head><body>
"""


def docs_page(document: Mapping[str, Any]) -> str:
    """The page for an OpenAPI document: each operation with its parameters, an example, and its answers."""
    info = document["info"]
    parts = [
        _HEAD,
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])} ",
        'For machines: <a href="openapi.json">openapi.json</a>.</p>',
    ]
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            shown = "".join(_operation(method.upper(), path, operation))
            by_tag.setdefault(operation["tags"][0], []).append(shown)
    for tag, shown_operations in by_tag.items():
        parts += [f"<h2>{escape(tag)}</h2>", *shown_operations]
    return "".join([*parts, "</body></html>"])


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    summary = escape(operation["summary"])
    yield f'<details><summary><span class="m">{method}</span><code>{escape(path)}</code> {summary}</summary>'
    if "description" in operation:
        yield f"<p>{escape(operation['description'])}</p>"
    yield from _parameters(operation.get("parameters", []))
    yield f"<pre>{escape(_curl(method, path, operation))}</pre><table>"
    for status, answer in operation["responses"].items():
        yield f"<tr><td>{status}</td><td>{escape(answer['description'])}</td></tr>"
    yield "</table></details>"


def _parameters(parameters: list[Mapping[str, Any]]) -> Iterator[str]:
    if not parameters:
        return
    yield "<table>"
    for one in parameters:
        needed = "required" if one["required"] else ""
        kind = one["schema"].get("type", "")
        yield (
            f"<tr><td><code>{escape(one['name'])}</code></td><td>{one['in']}</td>"
            f"<td>{escape(str(kind))}</td><td>{needed}</td></tr>"
        )
    yield "</table>"


def _curl(method: str, path: str, operation: Mapping[str, Any]) -> str:
    lines = [f"curl -X {method} http://127.0.0.1:8000{path}"]
    for scheme in operation.get("security", [{"operator": []}]):
        header = (
            "X-Provision-Token: $TOKEN" if "device" in scheme else "Authorization: Bearer $TOKEN"
        )
        lines.append(f'-H "{header}"')
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    if "example" in content:
        body = json.dumps(content["example"], ensure_ascii=False)
        lines += ['-H "Content-Type: application/json"', f"-d '{body}'"]
    return " \\\n  ".join(lines)
