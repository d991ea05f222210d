"""The commands on job templates, the tenant's own and AWS's managed ones: one model each."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, model_validator

from schema.arns import parse_job
from schema.commands import Command, CreateJob, JobSettings, Page
from schema.fields import Document, SourceUrl, Text
from schema.tags import Tags
from schema.templates import TemplateId, TemplateName, TemplateVersion
from schema.windows import MaintenanceWindows, SchedulingConfig


def _job_arn(value: str) -> str:
    parse_job(value)
    return value


class TemplateSettings(JobSettings):
    """What a template keeps for its jobs: their settings, and the windows they take unless they have a schedule."""

    maintenance_windows: MaintenanceWindows = ()

    def scheduled(self, command: CreateJob) -> CreateJob:
        """A job's command with the template's windows, where it says nothing of when (AWS: a job's own come first)."""
        if command.scheduling_config is not None or not self.maintenance_windows:
            return command
        windows = SchedulingConfig(maintenanceWindows=self.maintenance_windows)
        return command.model_copy(update={"scheduling_config": windows})


class CreateTemplate(TemplateSettings):
    """templates/create (AWS: CreateJobTemplate): a document with the settings of jobs that are made of it.

    With jobArn both are that job's, but for what is said here.
    """

    job_template_id: TemplateId
    # Narrower than its base's: AWS wants a template to be described.
    description: Text
    document: Document | None = None
    document_source: SourceUrl | None = None
    job_arn: Annotated[str, AfterValidator(_job_arn)] | None = None
    tags: Tags = ()

    @model_validator(mode="after")
    def _one_document(self) -> Self:
        given = (self.document, self.document_source, self.job_arn)
        if sum(one is not None for one in given) != 1:
            msg = "exactly one of document, documentSource and jobArn is needed"
            raise ValueError(msg)
        return self

    @property
    def settings_text(self) -> str:
        """What jobs take over, as a row holds it: JSON in AWS's spelling, without what was left out."""
        said = TemplateSettings.model_fields.keys() - {"client_token"}
        return self.model_dump_json(
            include=said, by_alias=True, exclude_unset=True, exclude_none=True
        )


class ListTemplates(Page):
    """templates/list (AWS: ListJobTemplates)."""


class GetTemplate(Command):
    """templates/get (AWS: DescribeJobTemplate)."""

    job_template_id: TemplateId


class DeleteTemplate(Command):
    """templates/delete (AWS: DeleteJobTemplate)."""

    job_template_id: TemplateId


class ListManagedTemplates(Page):
    """managed-templates/list (AWS: ListManagedJobTemplates)."""

    template_name: TemplateName | None = None


class GetManagedTemplate(Command):
    """managed-templates/get (AWS: DescribeManagedJobTemplate)."""

    template_name: TemplateName
    template_version: TemplateVersion | None = None
