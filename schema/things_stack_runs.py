"""What a deprovisioning run is made of: its phases and steps, how it ends, and what its end says (seed 000).

Pure: `conclude` is the one place that says whether a run SUCCEEDED. The seed's rule, no critical step failed, holds for
a run that did nothing at all as well; so what must have happened is asked for (reference/the-things-stack.md 3, 10).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

DEPROVISION_VERSION: Final = "ttn-deprovision-v2.0-tracked-20260124"
JOBS_VERSION: Final = "ttn-deprovision-jobs-v1.0-20260124"
EUIS_SHOWN: Final = 10_000
"""Most EUIs of one list in an answer or a message; a device's own step tells the rest."""


class RunStatus(StrEnum):
    """Where a run is."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    PARTIAL = "PARTIAL"


LIVE: Final = frozenset({RunStatus.QUEUED, RunStatus.RUNNING})


class StepStatus(StrEnum):
    """How a step went; SKIPPED has its reason in meta."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    OK = "OK"
    ERROR = "ERROR"
    SKIPPED = "SKIPPED"


class Action(StrEnum):
    """How much a run takes away."""

    ORGANIZATION = "deprovision"
    APPLICATION = "deprovision_application"
    DEVICE = "deprovision_device"
    DEEP_CLEAN = "deep_clean"

    @property
    def takes_application(self) -> bool:
        """Whether the application goes, after its devices."""
        return self is not Action.DEVICE

    @property
    def takes_organization(self) -> bool:
        """Whether the organization goes, after its application."""
        return self in (Action.ORGANIZATION, Action.DEEP_CLEAN)


class Phase(StrEnum):
    """What a run does next (reference 6.2)."""

    START = "START"
    LIST = "LIST"
    DEVICES = "DEVICES"
    STATE = "STATE"
    KEYS = "KEYS"
    APPLICATION = "APPLICATION"
    ORGANIZATION = "ORGANIZATION"
    CLEAR = "CLEAR"


class StepName(StrEnum):
    """The seed's names first, then those of what the seed did not think of."""

    LIST_DEVICES = "list_devices"
    DELETE_DEVICE_AS = "delete_device_as"
    DELETE_DEVICE_NS = "delete_device_ns"
    DELETE_DEVICE_JS = "delete_device_js"
    DELETE_DEVICE_IS = "delete_device_is"
    PURGE_DEVICE = "purge_device"
    VERIFY_DEV_EUI = "verify_dev_eui"
    DELETE_APPLICATION = "delete_application"
    PURGE_APPLICATION = "purge_application"
    DELETE_ORGANIZATION = "delete_organization"
    PURGE_ORGANIZATION = "purge_organization"
    CLEAR_LOCAL_DB = "clear_local_db"
    AUTH_INFO = "auth_info"
    FIND_APPLICATION = "find_application"
    RESTORE_APPLICATION = "restore_application"
    RECREATE_APPLICATION = "recreate_application"
    UNCLAIM_DEVICE = "unclaim_device"
    DELETE_WEBHOOKS = "delete_webhooks"
    DELETE_PUBSUBS = "delete_pubsubs"
    DELETE_LINK = "delete_link"
    DELETE_PACKAGES = "delete_packages"
    DELETE_JOIN_SETTINGS = "delete_join_settings"
    DELETE_API_KEYS = "delete_api_keys"
    DELETE_ORGANIZATION_KEYS = "delete_organization_keys"


STATE_STEPS: Final = (
    StepName.DELETE_WEBHOOKS,
    StepName.DELETE_PUBSUBS,
    StepName.DELETE_LINK,
    StepName.DELETE_PACKAGES,
    StepName.DELETE_JOIN_SETTINGS,
)
# Which steps of a run without devices' must have been OK or SKIPPED, by how much it takes away.
_OF_APPLICATION: Final = (
    StepName.LIST_DEVICES,
    *STATE_STEPS,
    StepName.DELETE_APPLICATION,
    StepName.PURGE_APPLICATION,
)
_OF_ORGANIZATION: Final = (StepName.DELETE_ORGANIZATION, StepName.PURGE_ORGANIZATION)


@dataclass(frozen=True, slots=True)
class Step:
    """One step as it is recorded. target_type: device, application, organization, dev_eui or db.

    elapsed: seconds that it took. snippet: without keys, 400 characters at most.
    """

    name: StepName
    status: StepStatus
    target_type: str | None = None
    target_id: str | None = None
    http_status: int | None = None
    endpoint: str | None = None
    snippet: str | None = None
    meta: Mapping[str, object] = field(default_factory=dict)
    elapsed: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """How a step of the application or the organization ended last."""

    status: StepStatus
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """A run's devices by how far they are: EUIs that were released, EUIs and ids of those that were not, and counts.

    problems: of the first devices that are left, what is wrong.
    """

    found: int = 0
    deleted: int = 0
    purged: int = 0
    verified: int = 0
    done: int = 0
    left: int = 0
    released_euis: Sequence[str] = ()
    failed_euis: Sequence[str] = ()
    failed_devices: Sequence[str] = ()
    problems: Mapping[str, str] = field(default_factory=dict)


def required_steps(action: Action, *, dry_run: bool) -> tuple[StepName, ...]:
    """What must have been OK, or SKIPPED for a reason, for a run to have SUCCEEDED."""
    if dry_run or not action.takes_application:
        return (StepName.LIST_DEVICES,)
    return _OF_APPLICATION + (_OF_ORGANIZATION if action.takes_organization else ())


def conclude(
    action: Action,
    tally: Tally,
    results: Mapping[StepName, Result],
    *,
    dry_run: bool,
    stopped: bool,
) -> RunStatus:
    """How a run ends; stopped: it was canceled or could not go on."""
    needed = required_steps(action, dry_run=dry_run)
    good = (StepStatus.OK, StepStatus.SKIPPED)
    held = all(name in results and results[name].status in good for name in needed)
    if held and not stopped and (dry_run or tally.left == 0):
        return RunStatus.SUCCEEDED
    some = (StepName.DELETE_APPLICATION, StepName.DELETE_ORGANIZATION)
    achieved = tally.purged or any(
        name in results and results[name].status is StepStatus.OK for name in some
    )
    return RunStatus.PARTIAL if achieved else RunStatus.FAILED


def summarize(
    tally: Tally, results: Mapping[StepName, Result], *, db_cleared: bool, dry_run: bool
) -> dict[str, object]:
    """The seed's summary, and why what is left was left."""

    def purged(name: StepName) -> bool:
        return name in results and results[name].status is StepStatus.OK

    summary: dict[str, object] = {
        "devices_found": tally.found,
        "devices_deleted_ok": tally.deleted,
        "devices_purged_ok": tally.purged,
        "euis_verified_ok": tally.verified,
        "failed_euis": list(tally.failed_euis[:EUIS_SHOWN]),
        "released_euis": list(tally.released_euis[:EUIS_SHOWN]),
        "app_purged": purged(StepName.PURGE_APPLICATION),
        "org_purged": purged(StepName.PURGE_ORGANIZATION),
        "db_cleared": db_cleared,
        "devices_left": tally.left,
        "failed_devices": list(tally.failed_devices[:EUIS_SHOWN]),
        "problems": dict(tally.problems),
        "reasons": {str(name): one.reason for name, one in results.items() if one.reason},
    }
    return {**summary, "dry_run": True} if dry_run else summary


def response(
    job_id: str, status: RunStatus, request_id: str | None, summary: Mapping[str, object]
) -> dict[str, object]:
    """The seed's answer at a run's end: success only when it SUCCEEDED."""
    return {
        "success": status is RunStatus.SUCCEEDED,
        "job_id": job_id,
        "status": status,
        "request_id": request_id,
        "summary": dict(summary),
        "failed_euis": summary.get("failed_euis", []),
        "released_euis": summary.get("released_euis", []),
        "version": DEPROVISION_VERSION,
    }
