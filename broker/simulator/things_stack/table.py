"""All calls that the server knows, and which of them a host answers."""

from __future__ import annotations

from broker.simulator.things_stack import (
    about,
    claiming,
    collaborators,
    entities,
    identity_devices,
    keys,
    region_devices,
    region_documents,
    searching,
)
from broker.simulator.things_stack.options import Options
from broker.simulator.things_stack.routes import Route, Router
from broker.simulator.things_stack.state import Host


def all_routes() -> list[Route]:
    """Every call but search, which not every installation has."""
    return [
        *entities.routes(),
        *keys.routes(),
        *identity_devices.routes(),
        *region_devices.routes(),
        *region_documents.routes(),
        *collaborators.routes(),
        *claiming.routes(),
        *about.routes(),
    ]


def router_of(host: Host, options: Options) -> Router:
    """The calls of the components on this host, as old as the installation is."""
    here = host.components()
    known = [*all_routes(), *(searching.routes() if options.search else ())]
    return Router(
        route
        for route in known
        if route.component in here and (options.batch_routes or not route.since_batches)
    )
