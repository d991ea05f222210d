"""A new job: blank, from a template or like another one; what it will come to is shown before it is made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from nicegui import ui
from nicegui.elements.mixins.value_element import ValueElement
from nicegui.events import ValueChangeEventArguments

from broker.console.api import ApiError
from broker.console.components import code_block, command_button, heading, section, tag, words
from broker.console.copies import as_boto3, as_cli, as_curl, as_mosquitto
from broker.console.draft import Draft, DraftError, draft_of, placeholder_marked
from broker.console.links import job_path
from broker.console.viewer import Viewer
from broker.console.words import counted, grouped, lasting, sentences

_WAIT_SECONDS: Final = 0.5
_FOUND: Final = 30
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


async def show(viewer: Viewer, query: Mapping[str, str]) -> None:
    """Build the form; the query has `clone` (a job), `template` (its ARN) or `target` (kind/name). Raises ApiError."""
    draft = Draft()
    if "clone" in query:
        body = await viewer.call("jobs/get", jobId=query["clone"], includeExecutions=False)
        draft = draft_of(body["job"], body["document"])
    if "target" in query:
        kind, _, name = query["target"].partition("/")
        draft.targets = [viewer.arn(kind, name)]
    draft.template = query.get("template", draft.template)
    page = _NewJob(viewer, draft)
    await page.read_templates()
    page.build()
    ui.timer(0.2, page.preview, once=True)


class _NewJob:
    def __init__(self, viewer: Viewer, draft: Draft) -> None:
        self.viewer = viewer
        self.draft = draft
        self.templates: dict[str, str] = {"": "Blank: write the document here"}
        self._turn = 0

    async def read_templates(self) -> None:
        """Ask which templates there are, the tenant's own and AWS's."""
        own = await self.viewer.call("templates/list", maxResults=250)
        for one in own["jobTemplates"]:
            self.templates[one["jobTemplateArn"]] = one["jobTemplateId"]
        managed = await self.viewer.call("managed-templates/list", maxResults=250)
        for one in managed["managedJobTemplates"]:
            self.templates[one["templateArn"]] = one["templateName"]
        if self.draft.template and self.draft.template not in self.templates:
            self.templates[self.draft.template] = self.draft.template.rpartition("/")[2]

    def build(self) -> None:
        """The form, and beside it what it will come to."""
        with tag("div", "jb-head"):
            heading("New job").classes("jb-grow")
            command_button(
                self.viewer, "Create the job", "jobs/create", self._create, kind="unelevated"
            ).props("color=primary")
        with tag("div", "jb-form"):
            with tag("div"):
                self._what()
                self._whom()
                self._how()
            with tag("div"):
                with tag("div", "jb-card"):
                    section("What will happen")
                    self.plan = tag("div", aria_live="polite")
                with tag("div", "jb-card"):
                    section("Whom it reaches, and what they are given")
                    self.shown = tag("div")
                with tag("div", "jb-card"):
                    section("The same elsewhere")
                    self.copies = tag("div")

    def _bind(self, element: ValueElement[Any], name: str) -> ValueElement[Any]:
        """Keep a field of the draft as the form has it, and look again a moment later."""

        def changed(event: ValueChangeEventArguments[Any]) -> None:
            default = getattr(Draft(), name)
            setattr(
                self.draft,
                name,
                default if event.value is None and default in ("", False) else event.value,
            )
            self._later()

        element.value = getattr(self.draft, name)
        element.on_value_change(changed)
        return element

    def _what(self) -> None:
        with tag("div", "jb-card"):
            section("What")
            with tag("div", "jb-fields"):
                self._bind(ui.input("Id").props(_FIELD + ' hint="made up when empty"'), "job_id")
                self._bind(ui.input("Description").props(_FIELD), "description")
            with tag("div", style="height:12px"):
                pass
            choose = ui.select(self.templates, label="Document").props(_FIELD)
            self._bind(choose, "template")
            with tag("div") as blank:
                words(
                    "JSON; ${thingName} and ${thing:attributes.NAME} are filled in for each thing",
                    "jb-quiet",
                    as_="p",
                )
                editor = ui.codemirror(language="JSON", theme=self._theme()).classes("jb-editor")
                editor.props["aria-label"] = "Document"
                self._bind(editor, "document")
            with tag("div") as filled:
                area = ui.textarea("Parameters, name=value, one a line").props(_FIELD + " autogrow")
                self._bind(area, "parameters")
            blank.bind_visibility_from(choose, "value", backward=lambda one: not one)
            filled.bind_visibility_from(choose, "value", backward=bool)
            self.problem = tag("div", "jb-problem", role="alert")

    def _theme(self) -> Any:  # noqa: ANN401 - one of many names
        return "vscodeDark" if self.viewer.dark else "vscodeLight"

    def _whom(self) -> None:
        with tag("div", "jb-card"):
            section("To whom")
            self.chosen = tag("div", "jb-row jb-picked")
            with tag("div", "jb-fields"):
                kind = ui.toggle(
                    {"thinggroup": "Groups", "thing": "Things"}, value="thinggroup"
                ).props("no-caps dense unelevated")
                name = ui.input("Name begins with").props(_FIELD + " debounce=200 clearable")
            self.found = tag("div", "jb-row jb-found", role="group", aria_label="Found")

            async def find() -> None:
                await self._find(str(kind.value), str(name.value or ""))

            kind.on_value_change(find)
            name.on_value_change(find)
            ui.timer(0.05, find, once=True)
            box = ui.checkbox("Also for things that come to these groups later").props("dense")
            self._bind(box, "continuous")
        self._show_targets()

    async def _find(self, kind: str, begins: str) -> None:
        verb, member, field = (
            ("groups/list", "thingGroups", "groupName")
            if kind == "thinggroup"
            else ("things/list", "things", "thingName")
        )
        try:
            body = await self.viewer.call(verb, namePrefixFilter=begins or None, maxResults=_FOUND)
        except ApiError as error:
            ui.notify(error.message, type="negative")
            return
        self.found.clear()
        with self.found:
            for one in body[member]:
                arn = self.viewer.arn(kind, one[field])
                ui.button(one[field], icon="add", on_click=lambda arn=arn: self._add(arn)).props(
                    "flat dense no-caps size=sm"
                ).props["aria-label"] = f"Add {one[field]}"
            if "nextToken" in body:
                words("and more", "jb-quiet")
            if not body[member]:
                words("None is called like this.", "jb-quiet")

    def _add(self, arn: str) -> None:
        if arn not in self.draft.targets:
            self.draft.targets.append(arn)
            self._show_targets()
            self._later()

    def _remove(self, arn: str) -> None:
        self.draft.targets.remove(arn)
        self._show_targets()
        self._later()

    def _show_targets(self) -> None:
        self.chosen.clear()
        with self.chosen:
            for arn in self.draft.targets:
                name = arn.rpartition(":")[2]
                button = ui.button(name, icon="close", on_click=lambda arn=arn: self._remove(arn))
                button.props("unelevated dense no-caps size=sm color=primary")
                button.props["aria-label"] = f"Take {name} away"
            if not self.draft.targets:
                words("Nobody yet: add groups or things.", "jb-quiet")

    def _how(self) -> None:
        with tag("div", "jb-card"):
            section("How fast")
            with tag("div", "jb-fields"):
                self._number("At most a minute", "per_minute")
                self._number("Begin with a minute", "ramp_base")
                self._number("Then times", "ramp_factor", step=0.1)
                self._number("After each so many", "ramp_every")
        with tag("div", "jb-card"):
            section("In stages")
            with tag("div", "jb-fields"):
                box = ui.input("% of things").props(_FIELD + ' hint="by commas: 5, 25, 100"')
                self._bind(box, "stages")
                self._number("% that must succeed", "stage_success")
                self._number("Then wait, minutes", "stage_soak")
                self._number("Pause at % failed", "stage_errors")
                self._number("Approvals needed", "approvals")
        with tag("div", "jb-card"):
            section("When it goes wrong")
            with tag("div", "jb-fields"):
                self._number("Cancel at % of", "abort_percent")
                self._bind(ui.select(_FAILURES, label="Kind").props(_FIELD), "abort_type")
                self._number("Once so many have ended", "abort_least")
                self._number("Timeout, minutes", "timeout")
                self._number("Try again, times", "retries")
                self._bind(ui.select(_RETRYABLE, label="After").props(_FIELD), "retry_type")
        with tag("div", "jb-card"):
            section("When")
            with tag("div", "jb-fields"):
                timed = _FIELD + " type=datetime-local stack-label"
                self._bind(ui.input("Begin").props(timed), "start")
                self._bind(ui.input("End").props(timed), "end")
                self._bind(ui.select(_ENDINGS, label="At the end").props(_FIELD), "end_behavior")
                self._number("Priority", "priority")
            words(
                f"Times are in {self.viewer.zone.key}; a beginning is at least 30 minutes ahead.",
                "jb-quiet",
                as_="p",
            )
            self._bind(
                ui.checkbox("While a thing works on it, it starts nothing else").props("dense"),
                "exclusive",
            )

    def _number(self, label: str, name: str, *, step: float = 1) -> None:
        self._bind(ui.number(label, min=0, step=step).props(_FIELD), name)

    def _later(self) -> None:
        self._turn += 1
        turn = self._turn

        async def look() -> None:
            if turn == self._turn:
                await self.preview()

        ui.timer(_WAIT_SECONDS, look, once=True)

    async def preview(self) -> None:
        """Say what the draft would come to: in sentences, and by the API's own preview."""
        self.problem.clear()
        try:
            command = self.draft.command(self.viewer.zone)
        except DraftError as error:
            self._show_problem(error.message, error.where)
            return
        self._show_copies(command)
        if not command["targets"] or not self.viewer.may("jobs/preview"):
            self._show_plan(command, None)
            return
        try:
            body = await self.viewer.call("jobs/preview", **command)
        except ApiError as error:
            self._show_plan(command, None)
            self._show_problem(
                error.message, placeholder_marked(self.draft.document, error.message)
            )
            return
        self._show_plan(command, body)
        self._show_preview(body)

    def _show_problem(self, message: str, where: str) -> None:
        self.problem.clear()
        with self.problem:
            words(message, as_="p")
            if where:
                words(where, "jb-mono", as_="pre")

    def _show_plan(self, command: Mapping[str, Any], body: Mapping[str, Any] | None) -> None:
        things = None if body is None else int(body["execution_count"])
        self.plan.clear()
        with self.plan, tag("ul", "jb-sentences"):
            if things is not None:
                words(f"It is for {counted(things, 'thing')} now.", as_="li")
            for sentence in sentences(command, things):
                words(sentence, as_="li")
            if body is not None and (told := body["rollout"].get("toldAt")):
                left = max(0, told - body["timestamp"])
                when = f"in {lasting(left)}" if left else "at once"
                words(f"All are told {when}, if nothing stops it.", as_="li")

    def _show_preview(self, body: Mapping[str, Any]) -> None:
        self.shown.clear()
        with self.shown:
            if body.get("exists"):
                words(
                    f"There is a job {body['jobId']} of this content already.",
                    "jb-problem",
                    as_="p",
                )
            count, first = body["execution_count"], body["firstThings"]
            more = count - len(first[:_SAMPLE])
            names = ", ".join(first[:_SAMPLE]) or "nobody"
            words(f"{names}{f' and {grouped(more)} more' if more > 0 else ''}", as_="p")
            points = body["rollout"].get("byMinute", [])
            if len(points) > 2:  # noqa: PLR2004 - a straight line tells nothing
                self._show_curve(points)
            if document := body.get("document"):
                words(f"What {document['thingName']} is given:", "jb-quiet", as_="p")
                code_block(_pretty(document["text"]), "the document")
                for name in document.get("emptyPlaceholders", []):
                    words(f"{name} has no value for it", "jb-problem", as_="p")

    def _show_curve(self, points: list[dict[str, Any]]) -> None:
        chart = ui.echart(
            {
                "animation": False,
                "grid": {"left": 48, "right": 16, "top": 14, "bottom": 40},
                "xAxis": {
                    "type": "value",
                    "name": "minutes",
                    "nameLocation": "middle",
                    "nameGap": 24,
                },
                "yAxis": {"type": "value"},
                "series": [
                    {
                        "type": "line",
                        "showSymbol": False,
                        "areaStyle": {"opacity": 0.15},
                        "itemStyle": {"color": "#2f7de1"},
                        "data": [[one["minute"], one["things"]] for one in points],
                    }
                ],
            }
        ).style("height:190px")
        chart.props["role"] = "img"
        chart.props["aria-label"] = "Things told by the minute"

    def _show_copies(self, command: Mapping[str, Any]) -> None:
        made = {"jobId": self.draft.job_id.strip() or "JOB-ID", **command}
        self.copies.clear()
        with self.copies:
            for name, text in (
                ("Command line", as_cli(made)),
                ("curl", as_curl(self.viewer.api.url, "jobs/create", made)),
                ("mosquitto_rr", as_mosquitto(self.viewer.name, "jobs/create", made)),
                ("boto3", as_boto3(self.viewer.api.url, made)),
            ):
                with ui.expansion(name).props("dense").classes("jb-full"):
                    code_block(text, name)

    async def _create(self) -> None:
        self.problem.clear()
        try:
            body = await self.viewer.call("jobs/create", **self.draft.command(self.viewer.zone))
        except DraftError as error:
            self._show_problem(error.message, error.where)
        except ApiError as error:
            where = placeholder_marked(self.draft.document, error.message)
            self._show_problem(error.message, where)
            ui.notify(error.message, type="negative", timeout=8000, close_button="Close")
        else:
            ui.navigate.to(job_path(str(body["jobId"])))


_FIELD: Final = "outlined dense"
_SAMPLE: Final = 8


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text
