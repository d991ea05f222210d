"""Job templates: the tenant's own and AWS's, each with its document and a way to a job made of it."""

from __future__ import annotations

from broker.console.components import code_block, empty, heading, section, tag, words
from broker.console.draft_texts import pretty
from broker.console.links import with_query
from broker.console.viewer import Viewer


async def show(viewer: Viewer) -> None:
    """Build the page."""
    own = await viewer.call("templates/list", maxResults=250)
    managed = await viewer.call("managed-templates/list", maxResults=250)
    with tag("div", "jb-head"):
        heading("Templates").classes("jb-grow")
    section("Your own")
    with tag("div", "jb-grid"):
        for one in own["jobTemplates"]:
            body = await viewer.call("templates/get", jobTemplateId=one["jobTemplateId"])
            _card(viewer, one["jobTemplateId"], one["jobTemplateArn"], body)
    if not own["jobTemplates"]:
        empty("No templates yet", "jobbroker templates create keeps a document for later jobs.")
    words("AWS's", "jb-h2", as_="h2").style("margin-top:18px")
    with tag("div", "jb-grid"):
        for one in managed["managedJobTemplates"]:
            _card(viewer, one["templateName"], one["templateArn"], one)


def _card(viewer: Viewer, name: str, arn: str, body: dict[str, object]) -> None:
    with tag("div", "jb-card"):
        with tag("div", "jb-row"):
            section(name).classes("jb-grow")
            if viewer.may("jobs/create"):
                with tag("a", href=viewer.link(with_query("/new", {"template": arn}))):
                    words("Make a job of it")
        words(str(body.get("description", "")), "jb-quiet", as_="p")
        if "document" in body:
            code_block(pretty(str(body["document"])), f"the document of {name}")
