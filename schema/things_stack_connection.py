"""An organization's connection to The Things Stack: its states, its steps, and who it is when nobody says."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from itertools import count
from typing import Final
from uuid import UUID, uuid5

_NAMESPACE: Final = UUID("6f0d3c54-6d8a-5b0e-9a43-5d9a1f1b7f3e")


def organization_of(tenant_id: str) -> UUID:
    """The organization of a tenant that is one itself: the same each time."""
    return uuid5(_NAMESPACE, tenant_id)


class ProvisioningStatus(StrEnum):
    """Where provisioning stands (seed 001)."""

    IDLE = "idle"
    PROVISIONING = "provisioning"
    READY = "ready"
    FAILED = "failed"


# Words of rows that an older program wrote (seed 001, "Legacy status mapping").
_LEGACY: Final = {
    "not_started": ProvisioningStatus.IDLE,
    "completed": ProvisioningStatus.READY,
}


def read_status(stored: str) -> ProvisioningStatus:
    """A stored status in today's words. Raises ValueError for one that never was any."""
    return _LEGACY.get(stored) or ProvisioningStatus(stored)


class Remedy(StrEnum):
    """What helps after a failure."""

    RETRY = "retry"
    START_FRESH = "start_fresh"


def candidate(kind: str, mark: str, abandoned: Sequence[str]) -> str:
    """The id for an application or an organization, when none was named: the first that was not given up."""
    base = f"jb-{mark}-org" if kind == "organization" else f"jb-{mark}"
    names = (base if number == 1 else f"{base}-{number}" for number in count(1))
    return next(name for name in names if name not in abandoned)


def is_candidate(name: str, mark: str) -> bool:
    """Whether an id is one of `candidate`'s, and not one that an operator named."""
    return name.startswith(f"jb-{mark}")


class ProvisioningStep(StrEnum):
    """The steps of provisioning, in their order."""

    AUTH_INFO = "auth_info"
    CREATE_ORGANIZATION = "create_organization"
    CREATE_ORGANIZATION_KEY = "create_organization_key"
    CREATE_APPLICATION = "create_application"
    CREATE_APPLICATION_KEY = "create_application_key"
    SET_WEBHOOK = "set_webhook"
    CREATE_GATEWAY_KEY = "create_gateway_key"
    VERIFY = "verify"


def steps_of(*, organization: bool, webhook: bool, gateway_key: bool) -> Sequence[ProvisioningStep]:
    """Which steps it takes, for what was asked."""
    left_out = set()
    if not organization:
        left_out |= {
            ProvisioningStep.CREATE_ORGANIZATION,
            ProvisioningStep.CREATE_ORGANIZATION_KEY,
        }
    if not webhook:
        left_out.add(ProvisioningStep.SET_WEBHOOK)
    if not gateway_key:
        left_out.add(ProvisioningStep.CREATE_GATEWAY_KEY)
    return [step for step in ProvisioningStep if step not in left_out]
