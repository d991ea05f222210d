"""The form of a new job: fields that write into a draft, and rows for what it may have several of."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from nicegui import ui
from nicegui.elements.mixins.value_element import ValueElement
from nicegui.events import ValueChangeEventArguments

from broker.console.components import Tag, have, section, tag, words
from broker.console.draft import Draft
from broker.console.draft_rows import DAYS, SIZES, AbortRow, RetryRow, StageRow, WindowRow
from broker.console.pages.new_job_targets import TargetPicker
from broker.console.viewer import Viewer

FIELD: Final = "outlined dense"
_FAILURES: Final = {
    "FAILED": "failed",
    "REJECTED": "rejected",
    "TIMED_OUT": "timed out",
    "ALL": "any failure",
}
_RETRYABLE: Final = {"ALL": "any failure", "FAILED": "failed", "TIMED_OUT": "timed out"}
_ENDINGS: Final = {
    "STOP_ROLLOUT": "tell nobody any more",
    "CANCEL": "cancel what is queued",
    "FORCE_CANCEL": "cancel what is not over",
}
_RAMPS: Final = {
    "numberOfNotifiedThings": "things were told",
    "numberOfSucceededThings": "things succeeded",
}
_THEN: Final = {"START_NEXT": "start the next", "PAUSE": "pause until started"}
_ON_ERROR: Final = {"PAUSE": "pause the job", "CANCEL": "cancel the job"}
_Row = TypeVar("_Row")


class Form:
    """Everything that a job can be given; `changed` is called after each change of the draft."""

    def __init__(
        self,
        viewer: Viewer,
        draft: Draft,
        templates: dict[str, str],
        changed: Callable[[], None],
    ) -> None:
        """Build the cards where they stand."""
        self.viewer = viewer
        self.draft = draft
        self._changed = changed
        self._what(templates)
        TargetPicker(viewer, draft, changed, self._bind)
        self._pace()
        self._stages()
        self._brakes()
        self._time()

    def _bind(
        self, element: ValueElement[Any], name: str, of: object | None = None
    ) -> ValueElement[Any]:
        """Keep a field of the draft, or of a row of it, as the form has it."""
        owner = self.draft if of is None else of

        def changed(event: ValueChangeEventArguments[Any]) -> None:
            default = getattr(type(owner)(), name)
            is_empty = event.value is None and default in ("", False)
            setattr(owner, name, default if is_empty else event.value)
            self._changed()

        element.value = getattr(owner, name)
        element.on_value_change(changed)
        return element

    def _number(self, label: str, name: str, of: object | None = None, *, step: float = 1) -> None:
        self._bind(ui.number(label, min=0, step=step).props(FIELD), name, of)

    def _text(self, label: str, name: str, of: object | None = None, hint: str = "") -> None:
        box = ui.input(label).props(FIELD)
        if hint:
            box.props["hint"] = hint
        self._bind(box, name, of)

    def _select(
        self, choices: dict[str, str], label: str, name: str, of: object | None = None
    ) -> ValueElement[Any]:
        return self._bind(ui.select(choices, label=label).props(FIELD), name, of)

    def _what(self, templates: dict[str, str]) -> None:
        with tag("div", "jb-card"):
            section("What")
            with tag("div", "jb-fields"):
                self._text("Id", "job_id", hint="made up when empty")
                self._text("Description", "description")
                self._text("Tags", "tags", hint="name=value, by commas")
            tag("div", style="height:12px")
            choose = self._select(templates, "Document", "template")
            with tag("div") as blank:
                words(
                    "JSON; ${thingName} and ${thing:attributes.NAME} are filled in for each thing",
                    "jb-quiet",
                    as_="p",
                )
                theme: Any = "vscodeDark" if self.viewer.shade == "dark" else "vscodeLight"
                editor = ui.codemirror(language="JSON", theme=theme).classes("jb-editor")
                editor.props["aria-label"] = "Document"
                self._bind(editor, "document")
            with tag("div") as filled:
                area = ui.textarea("Parameters, name=value, one a line").props(FIELD + " autogrow")
                self._bind(area, "parameters")
            blank.bind_visibility_from(choose, "value", backward=lambda one: not one)
            filled.bind_visibility_from(choose, "value", backward=bool)
            self.problem = tag("div", "jb-problem", role="alert")

    def show_problem(self, message: str = "", where: str = "") -> None:
        """Say what cannot be taken, and where in the document it is; nothing for no message."""
        self.problem.clear()
        with self.problem:
            if message:
                words(message, as_="p")
            if where:
                words(where, "jb-mono", as_="pre")

    def _pace(self) -> None:
        with tag("div", "jb-card"):
            section("How fast")
            with tag("div", "jb-fields"):
                self._number("At most a minute", "per_minute")
                self._number("Begin with a minute", "ramp_base")
                self._number("Then times", "ramp_factor", step=0.1)
                self._number("After each so many", "ramp_every")
                self._select(_RAMPS, "Counted when", "ramp_by")

    def _stages(self) -> None:
        def build(row: StageRow) -> None:
            self._select(SIZES, "Reaches", "by", row)
            self._text("How far", "size", row)
            self._number("% that must succeed", "success", row)
            self._number("Then wait, minutes", "soak", row)
            self._select(_THEN, "Then", "then", row)
            self._number("Stop at % failed", "error_percent", row)
            self._number("Or at so many failed", "errors", row)
            self._select(_ON_ERROR, "Stop means", "on_error", row)

        with tag("div", "jb-card"):
            section("In stages")
            self._rows(self.draft.stages, self._next_stage, build, "Stage")
            with tag("div", "jb-fields"):
                self._number("Approvals needed", "approvals")

    def _next_stage(self) -> StageRow:
        """The first is a tenth of the things, what follows the rest."""
        return StageRow(by="") if self.draft.stages else StageRow(size="10")

    def _brakes(self) -> None:
        def abort(row: AbortRow) -> None:
            self._number("Cancel at % of", "percent", row)
            self._select(_FAILURES, "Kind", "kind", row)
            self._number("Once so many have ended", "least", row)

        def retry(row: RetryRow) -> None:
            self._number("Try again, times", "times", row)
            self._select(_RETRYABLE, "After", "kind", row)

        with tag("div", "jb-card"):
            section("When it goes wrong")
            self._rows(self.draft.aborts, AbortRow, abort, "Abort criterion")
            self._rows(self.draft.retries, RetryRow, retry, "Retry criterion")
            with tag("div", "jb-fields"):
                self._number("Timeout, minutes", "timeout")

    def _time(self) -> None:
        def window(row: WindowRow) -> None:
            days = self._select({**DAYS, "cron": "by an expression"}, "Window", "days", row)
            with tag("div") as clock:
                self._text("From (UTC)", "at", row)
            with tag("div") as cron:
                self._text("cron(...)", "cron", row, hint="cron(0 2 ? * SUN *)")
            clock.bind_visibility_from(days, "value", backward=lambda one: one != "cron")
            cron.bind_visibility_from(days, "value", backward=lambda one: one == "cron")
            self._number("Minutes long", "minutes", row)

        with tag("div", "jb-card"):
            section("When")
            with tag("div", "jb-fields jb-roomy"):
                timed = FIELD + " type=datetime-local stack-label"
                self._bind(ui.input("Begin").props(timed), "start")
                self._bind(ui.input("End").props(timed), "end")
                self._select(_ENDINGS, "At the end", "end_behavior")
                self._number("Priority", "priority")
            words(
                f"Times are in {self.viewer.zone.key}; a beginning is at least 30 minutes ahead.",
                "jb-quiet",
                as_="p",
            )
            self._rows(self.draft.windows, WindowRow, window, "Maintenance window")
            alone = ui.checkbox("While a thing works on it, it starts nothing else")
            self._bind(alone.props("dense"), "exclusive")

    def _rows(
        self, rows: list[_Row], new: Callable[[], _Row], build: Callable[[_Row], None], what: str
    ) -> None:
        """Rows of fields with a button that takes one away, and one that adds another.

        The others stay as they are meanwhile: what is being typed there may not have come here yet.
        """
        place = tag("div")
        made: list[tuple[_Row, Tag, ui.button]] = []

        def number() -> None:
            for at, (_, group, button) in enumerate(made, start=1):
                have(group, "aria-label", f"{what} {at}")
                have(button, "aria-label", f"Take away: {what.lower()} {at}")

        def take(row: _Row) -> None:
            at = next(at for at, one in enumerate(made) if one[0] is row)
            del rows[at]
            made.pop(at)[1].delete()
            number()
            self._changed()

        def show(row: _Row) -> None:
            with place:
                made.append((row, *_row(partial(build, row), partial(take, row))))
            number()

        def add() -> None:
            rows.append(new())
            show(rows[-1])
            self._changed()

        for row in rows:
            show(row)
        more = ui.button(f"Add: {what.lower()}", icon="add", on_click=add)
        more.props("no-caps flat dense").classes("jb-add")


def _row(build: Callable[[], None], take: Callable[[], None]) -> tuple[Tag, ui.button]:
    with tag("div", "jb-form-row", role="group") as made:
        with tag("div", "jb-fields jb-grow"):
            build()
        away = ui.button(icon="close", on_click=take).props("flat round dense")
    return made, away
