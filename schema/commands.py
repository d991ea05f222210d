"""Every operator command's payload: one model each, checked against every limit before anything is done.

AWS's spelling on the wire; jobs/create also takes the seeds' words. Unknown fields are refused, so that a misspelt one
is not silently left out; null counts as absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from schema.abort import AbortConfig
from schema.approval import ApprovalConfig
from schema.fields import (
    AttributeName,
    Attributes,
    AttributeValue,
    ClientToken,
    Document,
    DocumentType,
    GroupId,
    GroupName,
    JobId,
    NamePrefix,
    OperatorName,
    PageSize,
    PageToken,
    Params,
    ReasonCode,
    SearchText,
    SourceUrl,
    StatusDetails,
    TargetArn,
    Text,
    ThingName,
    Version,
    compact_json,
    document_text,
)
from schema.lifecycle import JobStatus, Status
from schema.limits import (
    EPOCH_SECONDS,
    EXPIRY_HOURS,
    PRIORITY_MOST,
    STEP_MINUTES,
    TARGETS_PER_JOB,
)
from schema.paging import PAGE_USUAL
from schema.placeholders import Parameters
from schema.presign import PresignedUrlConfig
from schema.retries import RetryConfig
from schema.rights import Role
from schema.rollout import RolloutConfig
from schema.stages import Stages
from schema.tags import TagKey, Tags, TagValue
from schema.templates import TemplateArn
from schema.windows import SchedulingConfig

# JSON has no tuples and no enums: what stands for them is taken, everything else stays strict.
_LAX: Final = Field(strict=False)


class Part(BaseModel):
    """An object inside a command."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=to_camel)


class Command(Part):
    """What every command may have: a clientToken, by which a repeated one finds its first answer."""

    client_token: ClientToken | None = None


class Page(Command):
    """What every list may have (AWS: maxResults 1 to 250, nextToken)."""

    max_results: PageSize = PAGE_USUAL
    next_token: PageToken | None = None


class TimeoutConfig(Part):
    """AWS: TimeoutConfig."""

    in_progress_timeout_in_minutes: Annotated[int, Field(ge=1, le=STEP_MINUTES)] | None = None


class JobSettings(Command):
    """What jobs and templates of jobs both say: a job takes from its template what it does not say itself.

    A configuration that stands here, and in what `handlers.job_views.described` shows, is a template's too.
    """

    description: Text | None = None
    timeout_config: TimeoutConfig = TimeoutConfig()
    presigned_url_config: PresignedUrlConfig = PresignedUrlConfig()
    job_executions_rollout_config: RolloutConfig | None = None
    abort_config: AbortConfig | None = None
    job_executions_retry_config: RetryConfig | None = None
    priority: Annotated[int, Field(ge=-PRIORITY_MOST, le=PRIORITY_MOST)] = 0
    exclusive: bool = False
    stages: Stages | None = None
    approval_config: ApprovalConfig | None = None

    def taken_from(self, settings: JobSettings) -> Self:
        """With all that another one sets and this one does not."""
        said = settings.model_fields_set & JobSettings.model_fields.keys() - {"client_token"}
        taken = {name: getattr(settings, name) for name in said - self.model_fields_set}
        return self.model_copy(update=taken)


class CreateJob(JobSettings):
    """jobs/create in AWS's words (AWS: CreateJob)."""

    job_id: JobId | None = None
    targets: Annotated[
        tuple[TargetArn, ...], Field(strict=False, min_length=1, max_length=TARGETS_PER_JOB)
    ]
    document: Document | None = None
    document_source: SourceUrl | None = None
    job_template_arn: TemplateArn | None = None
    document_parameters: Parameters | None = None
    target_selection: Literal["SNAPSHOT", "CONTINUOUS"] = "SNAPSHOT"
    scheduling_config: SchedulingConfig | None = None
    tags: Tags = ()

    @model_validator(mode="after")
    def _one_document(self) -> Self:
        given = (self.document, self.document_source, self.job_template_arn)
        if sum(one is not None for one in given) != 1:
            msg = "exactly one of document, documentSource and jobTemplateArn is needed"
            raise ValueError(msg)
        return self


class CreateSeedJob(Command):
    """jobs/create in the seeds' words (seed 002 steps 2 and 7; seed 004): exactly one kind of target."""

    model_config = ConfigDict(alias_generator=None)

    client_token: ClientToken | None = Field(None, alias="clientToken")
    job_id: JobId | None = None
    document_type: DocumentType
    document_params: Params = Field(default_factory=dict)
    target_device_id: ThingName | None = None
    target_group_id: GroupName | None = None
    target_all: bool = False
    expires_in_hours: Annotated[float, Field(gt=0, le=EXPIRY_HOURS, allow_inf_nan=False)] | None = (
        None
    )

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        kinds = [self.target_device_id is not None, self.target_group_id is not None]
        if sum(kinds) + self.target_all != 1:
            msg = "exactly one of target_device_id, target_group_id and target_all: true is needed"
            raise ValueError(msg)
        try:
            document_text(self.document)
        except ValueError as error:
            msg = f"document_params: the document made of it {error}"
            raise ValueError(msg) from None
        return self

    @property
    def document(self) -> str:
        """The job document that devices are given."""
        return compact_json({"type": self.document_type, "params": self.document_params})


EpochSeconds = Annotated[int, Field(ge=0, le=EPOCH_SECONDS)]


class ListJobs(Page):
    """jobs/list (AWS: ListJobs). A group is named by its name or by its id.

    Beyond AWS: search (a part of the id, the description or who created it), a thing among the targets, a tag, and when
    it was created, in epoch seconds: from createdAfter on, before createdBefore.
    """

    status: Annotated[JobStatus, _LAX] | None = None
    search: SearchText | None = None
    target_selection: Literal["SNAPSHOT", "CONTINUOUS"] | None = None
    thing_group_name: GroupName | None = None
    thing_group_id: GroupId | None = None
    thing_name: ThingName | None = None
    tag_key: TagKey | None = None
    tag_value: TagValue | None = None
    created_after: EpochSeconds | None = None
    created_before: EpochSeconds | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.thing_group_name is not None and self.thing_group_id is not None:
            msg = "thingGroupId: given together with thingGroupName"
            raise ValueError(msg)
        if self.tag_value is not None and self.tag_key is None:
            msg = "tagKey: required with tagValue"
            raise ValueError(msg)
        return self

    @property
    def is_plain(self) -> bool:
        """Whether jobs are asked for by nothing but their status."""
        asked = self.model_fields_set - {"status", "max_results", "next_token", "client_token"}
        return all(getattr(self, name) is None for name in asked)


class GetJob(Page):
    """jobs/{id}/get: the job, its document, its counts and one page of executions."""

    status: Annotated[Status, _LAX] | None = None
    include_document: bool = True
    before_substitution: bool = False
    include_executions: bool = True


class CancelJob(Command):
    """jobs/{id}/cancel (AWS: CancelJob)."""

    force: bool = False
    reason_code: ReasonCode | None = None
    comment: Text | None = None


class DeleteJob(Command):
    """jobs/{id}/delete (AWS: DeleteJob)."""

    force: bool = False


class AssociateTargets(Command):
    """jobs/{id}/associate (AWS: AssociateTargetsWithJob)."""

    targets: Annotated[
        tuple[TargetArn, ...], Field(strict=False, min_length=1, max_length=TARGETS_PER_JOB)
    ]
    comment: Text | None = None


class CancelExecution(Command):
    """jobs/{id}/executions/{thing}/cancel (AWS: CancelJobExecution)."""

    force: bool = False
    expected_version: Version | None = None
    status_details: StatusDetails | None = None


class AttributePayload(Part):
    """AWS: AttributePayload."""

    attributes: Attributes = Field(default_factory=dict)


class CreateThing(Command):
    """things/create (AWS: CreateThing). attributes may also stand without attributePayload around them."""

    thing_name: ThingName
    thing_type_name: ThingName | None = None
    attribute_payload: AttributePayload | None = None
    attributes: Attributes | None = None
    issue_token: bool = False

    @model_validator(mode="after")
    def _once(self) -> Self:
        if self.attributes is not None and self.attribute_payload is not None:
            msg = "attributes: given twice, also in attributePayload"
            raise ValueError(msg)
        return self

    @property
    def all_attributes(self) -> dict[str, str]:
        """The attributes, wherever they stand."""
        if self.attribute_payload is not None:
            return self.attribute_payload.attributes
        return self.attributes or {}


class ListThings(Page):
    """things/list (AWS: ListThings; namePrefixFilter is ours)."""

    attribute_name: AttributeName | None = None
    attribute_value: AttributeValue | None = None
    use_prefix_attribute_value: bool = False
    thing_type_name: ThingName | None = None
    name_prefix_filter: NamePrefix | None = None

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.attribute_value is not None and self.attribute_name is None:
            msg = "attributeName: required with attributeValue"
            raise ValueError(msg)
        return self


class GetThing(Command):
    """things/get (AWS: DescribeThing)."""

    thing_name: ThingName


class UpdatedAttributes(Part):
    """AWS: AttributePayload of an update; with merge the attributes not named stay, an empty value removes one."""

    attributes: Attributes = Field(default_factory=dict)
    merge: bool = False

    def onto(self, stored: Mapping[str, str]) -> dict[str, str]:
        """The attributes that these make of those stored."""
        joined = {**stored, **self.attributes} if self.merge else self.attributes
        return {name: value for name, value in joined.items() if self.attributes.get(name) != ""}


class UpdateThing(Command):
    """things/update (AWS: UpdateThing)."""

    thing_name: ThingName
    thing_type_name: ThingName | None = None
    remove_thing_type: bool = False
    attribute_payload: UpdatedAttributes | None = None
    expected_version: Version | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.remove_thing_type and self.thing_type_name is not None:
            msg = "removeThingType: given together with thingTypeName"
            raise ValueError(msg)
        if (
            not self.remove_thing_type
            and self.thing_type_name is None
            and self.attribute_payload is None
        ):
            msg = "attributePayload, thingTypeName or removeThingType is needed"
            raise ValueError(msg)
        return self


class DeleteThing(Command):
    """things/delete (AWS: DeleteThing)."""

    thing_name: ThingName
    expected_version: Version | None = None


class CreateOperator(Command):
    """operators/create. The token is in the answer, once, unless issueToken is false."""

    operator_name: OperatorName
    role: Annotated[Role, _LAX]
    issue_token: bool = True


class ListOperators(Page):
    """operators/list."""


class DeleteOperator(Command):
    """operators/delete."""

    operator_name: OperatorName
