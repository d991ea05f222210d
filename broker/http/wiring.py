"""The HTTP doors put together, as the settings say; the composition root calls this where there is a port."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import BaseRoute

from broker.http.about import about_routes
from broker.http.customer import CustomerJobs
from broker.http.device import DeviceJobs
from broker.http.doors import Doors
from broker.http.edge import Observe
from broker.http.identity import Identity
from broker.http.limits import RateLimit
from broker.http.rest import rest_routes
from broker.http.server import HttpServer, create_app
from broker.settings import Settings

_BURST_SECONDS = 2.0


def http_server(
    settings: Settings, doors: Doors, *, observe: Observe, more: Sequence[BaseRoute] = ()
) -> HttpServer:
    """The listener with all doors; `more` are routes that others bring along."""
    identity = Identity(doors.pool, per_key=_limit(settings.http_token_rate))
    routes = [
        *CustomerJobs(doors, identity).routes(),
        *DeviceJobs(doors, identity).routes(),
        *rest_routes(doors, identity),
        *about_routes(),
        *more,
    ]
    return HttpServer(
        create_app(routes),
        per_address=_limit(settings.http_address_rate),
        observe=observe,
    )


def _limit(rate: float) -> RateLimit:
    return RateLimit(rate, max(1.0, _BURST_SECONDS * rate))
