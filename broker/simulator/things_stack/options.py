"""What one installation of The Things Stack is like: its hosts, and the settings that differ between releases."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final


@dataclass(frozen=True, slots=True)
class HostPlan:
    """One host by its cluster's name; `identity` and `regional` say which components answer there."""

    name: str
    identity: bool = False
    regional: bool = True


CLUSTERS: Final = (HostPlan("eu1", identity=True), HostPlan("nam1"), HostPlan("au1"))


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of the server; the defaults are those of release 3.32.2 with three clusters.

    `default_limit` None is what came before: a list without `limit` gives everything. `rights_ttl` is for how many
    seconds regional hosts keep what the identity server said of a key's rights, in its favour or not (2 minutes when
    they are processes of their own, 0 when all is one). `batch_routes` False is a release before 3.27.
    `dev_eui_prefix` None is a server that issues no DevEUIs. `rate_per_minute` None is one without rate limits.
    `regional_list_limit` is how many webhooks a list gives at most, 100 in releases from 3.34 on. Devices whose JoinEUI
    is among `claimable_join_euis` can be claimed. Not every installation has `search`.
    """

    hosts: tuple[HostPlan, ...] = CLUSTERS
    seed: int = 0
    default_limit: int | None = 100
    restore_window: timedelta = timedelta(hours=24)
    rights_ttl: float = 0.0
    batch_routes: bool = True
    admin_rights_all: bool = False
    users_create_applications: bool = True
    users_create_organizations: bool = True
    dev_eui_prefix: str | None = None
    dev_eui_limit: int = 10
    claimable_join_euis: frozenset[str] = frozenset()
    regional_list_limit: int | None = None
    search: bool = True
    rate_per_minute: int | None = None
    latency: float = 0.0
