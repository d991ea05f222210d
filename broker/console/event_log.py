"""Events as lines of a log."""

from __future__ import annotations

from broker.console.components import Tag, at, tag, words
from broker.console.feed import Event
from broker.console.viewer import Viewer


def event_line(viewer: Viewer, event: Event) -> Tag:
    """A line of the log: when, what, about whom and with which details."""
    thing = str(event.get("thingArn", "")).rpartition("/")[2]
    details = event.get("statusDetails") or {}
    said = ", ".join(f"{key}: {value}" for key, value in details.items())
    with tag("div", "jb-log-line") as line:
        at(viewer, event.get("timestamp"))
        words(
            str(event.get("operation", "")).replace("_", " "), f"jb-status st-{event.get('status')}"
        )
        words(" ".join(one for one in (str(event.get("jobId", "")), thing, said) if one))
    return line
