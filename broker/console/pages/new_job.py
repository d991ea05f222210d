"""A new job: blank, from a template or like another one; what it will come to is shown before it is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nicegui import ui

from broker.console.api import ApiError
from broker.console.components import (
    Latest,
    code_block,
    command_button,
    heading,
    section,
    tag,
    words,
)
from broker.console.copies import as_boto3, as_cli, as_curl, as_mosquitto
from broker.console.course import foreseen
from broker.console.draft import Draft, draft_of
from broker.console.draft_rows import DraftError
from broker.console.draft_texts import placeholder_marked, pretty
from broker.console.links import job_path
from broker.console.pages.new_job_form import Form
from broker.console.viewer import Viewer
from broker.console.words import counted, grouped, lasting, sentences

_WAIT_SECONDS: Final = 0.5


async def show(viewer: Viewer, query: Mapping[str, str]) -> None:
    """Build the form; the query has `clone` (a job), `template` (its ARN) or `target` (kind/name). Raises ApiError."""
    draft = Draft()
    if "clone" in query:
        body = await viewer.call("jobs/get", jobId=query["clone"], includeExecutions=False)
        tags = await viewer.call("tags/list", resourceArn=viewer.arn("job", query["clone"]))
        given = {one["Key"]: one["Value"] for one in tags["tags"] if one["Key"] != _RETRY_TAG}
        draft = draft_of(body["job"], body["document"], viewer.zone, given)
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
        self._latest = Latest()

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
                self.form = Form(self.viewer, self.draft, self.templates, self._later)
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

    def _later(self) -> None:
        is_latest = self._latest.ask()

        async def look() -> None:
            if is_latest():
                await self.preview()

        with self.viewer.client:  # not where it was clicked, which may be gone by then
            ui.timer(_WAIT_SECONDS, look, once=True)

    async def preview(self) -> None:
        """Say what the draft would come to: in sentences, and by the API's own preview."""
        is_latest = self._latest.ask()
        self.form.show_problem()
        try:
            command = self.draft.command(self.viewer.zone)
        except DraftError as error:
            self.form.show_problem(error.message, error.where)
            return
        self._show_copies(command)
        if not command["targets"] or not self.viewer.may("jobs/preview"):
            self._show_plan(command, None)
            self.shown.clear()
            return
        try:
            body = await self.viewer.call("jobs/preview", **command)
        except ApiError as error:
            if is_latest():
                self._show_plan(command, None)
                self.shown.clear()
                where = placeholder_marked(self.draft.document, error.message)
                self.form.show_problem(error.message, where)
            return
        if is_latest():
            self._show_plan(command, body)
            self._show_preview(body)

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
            for sentence in () if body is None else foreseen(body):
                words(sentence, as_="li")

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
                code_block(pretty(document["text"]), "the document")
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
        self.form.show_problem()
        try:
            body = await self.viewer.call("jobs/create", **self.draft.command(self.viewer.zone))
        except DraftError as error:
            self.form.show_problem(error.message, error.where)
        except ApiError as error:
            where = placeholder_marked(self.draft.document, error.message)
            self.form.show_problem(error.message, where)
            ui.notify(error.message, type="negative", timeout=8000, close_button="Close")
        else:
            ui.navigate.to(job_path(str(body["jobId"])))


_RETRY_TAG: Final = "retry"  # is of the jobs of one retry, which a clone is none of
_SAMPLE: Final = 8
