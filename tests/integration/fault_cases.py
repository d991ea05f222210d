"""Cases for runs under faults, drawn: fleets, faults, deaths of workers, and what others do at the server meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.simulator.things_stack import masks, seeding
from broker.simulator.things_stack.faults import USUAL, Kind
from broker.simulator.things_stack.seeding import Tenant
from broker.simulator.things_stack.state import Stack

CLUSTERS = ("eu1", "nam1", "au1")
REGISTRIES = ("is", "ns", "as", "js")


class Deed(StrEnum):
    """What happens at a moment of a run's life."""

    KILL = "kill"  # its worker dies
    CANCEL = "cancel"  # it dies, and ahead of the next one the operator cancels the run
    REGISTER = "register"  # a device that was taken out is registered again
    DELETE = "delete"  # somebody deletes the application, as far as the server lets them
    RESTORE = "restore"  # somebody restores it, or makes it anew
    PURGE = "purge"  # an admin purges it


@dataclass(frozen=True, slots=True)
class Planted:
    """A device as a drawn case has it: where it is, and where its entry at the identity server says, if it does."""

    host: str
    registries: frozenset[str]
    has_eui: bool
    said: str | None


@dataclass(frozen=True, slots=True)
class Case:
    """One drawn case.

    own_key: the application's own key takes the application out; else the user's all. rate, faults: each request may go
    wrong, until so many did. bursts: so many requests in a row that do, by method and what is in their path.
    deeds: what happens, each after so many moments from the last. by_resume: the same run, not another, takes out what
    is left.
    """

    devices: tuple[Planted, ...]
    admin: bool
    own_key: bool
    seed: int
    rate: float
    faults: int
    bursts: tuple[tuple[str, str, Kind, int], ...]
    deeds: tuple[tuple[int, Deed], ...]
    by_resume: bool


_PLANTED = st.builds(
    Planted,
    host=st.sampled_from(CLUSTERS),
    registries=st.sets(st.sampled_from(REGISTRIES[1:])).map(lambda some: frozenset(some) | {"is"}),
    has_eui=st.sampled_from((True, True, True, False)),
    said=st.sampled_from((*CLUSTERS, None)),
)
_CASES = st.builds(
    Case,
    devices=st.lists(_PLANTED, max_size=5).map(tuple),
    admin=st.booleans(),
    own_key=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
    rate=st.sampled_from((0.0, 0.05, 0.2, 0.5)),
    faults=st.integers(0, 40),
    bursts=st.lists(
        st.tuples(
            st.sampled_from(("DELETE", "GET", "*")),
            st.sampled_from(("/as/", "/ns/", "/js/", "/applications/", "device-1", "device-2")),
            st.sampled_from(USUAL),
            st.integers(1, 12),
        ),
        max_size=4,
    ).map(tuple),
    deeds=st.lists(
        st.tuples(st.integers(1, 60), st.sampled_from((Deed.KILL, *Deed))), max_size=6
    ).map(tuple),
    by_resume=st.booleans(),
)


def drawn(examples: int) -> list[Case]:
    """What hypothesis draws, collected first: its tests are not asynchronous."""
    found: list[Case] = []

    @settings(max_examples=examples, database=None, suppress_health_check=list(HealthCheck))
    @given(_CASES)
    def collect(case: Case) -> None:
        found.append(case)

    collect()
    return found


@dataclass(slots=True)
class World:
    """A case's fleet at the server, and who else is at work there.

    again: EUIs that were registered again after nobody had them. came_back: the application was brought back by others.
    """

    stack: Stack
    tenant: Tenant
    number: int
    case: Case
    again: set[str]
    came_back: bool = False

    @property
    def planted(self) -> set[str]:
        """The EUIs of the fleet."""
        return {self._eui(index) for index, one in self._devices() if one.has_eui}

    def plant(self) -> None:
        """Register the fleet."""
        for index, one in self._devices():
            self._register(index, one)

    def act(self, deed: Deed) -> None:
        """Let somebody else do something, if the server lets them."""
        application_id = self.tenant.application.id
        application = self.stack.find("application", application_id)
        match deed:
            case Deed.REGISTER if application is not None:
                for index, one in self._devices():
                    eui = self._eui(index)
                    if one.has_eui and not self.stack.holders_of(eui):
                        self._register(index, one)
                        self.again.add(eui)
                        return
            case Deed.DELETE | Deed.PURGE if application is not None and not self.stack.devices_of(
                application_id
            ):
                if deed is Deed.PURGE:
                    self.stack.purge(application)
                else:
                    application.deleted_at = self.stack.clock.now()
            case Deed.RESTORE if application is None:
                deleted = self.stack.find("application", application_id, deleted=True)
                if deleted is not None:
                    deleted.deleted_at = None
                else:
                    seeding.application(self.stack, application_id, self.tenant.user)
                self.came_back = True

    def _devices(self) -> enumerate[Planted]:
        return enumerate(self.case.devices, start=1)

    def _eui(self, index: int) -> str:
        return seeding.eui_of(self.number * 100 + index)

    def _register(self, index: int, planted: Planted) -> None:
        entry = seeding.device(
            self.stack,
            (self.tenant.application.id, f"device-{index}"),
            self._eui(index) if planted.has_eui else None,
            host=planted.host,
            registries=planted.registries,
            addresses=False,
        )
        if planted.said is not None:
            address = self.stack.hosts[planted.said].address
            entry |= dict.fromkeys(masks.SERVER_ADDRESSES, address)
