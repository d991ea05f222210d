"""The HTTP doors put together, as the settings say; the composition root calls this where there is a port."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from starlette.routing import BaseRoute

from broker.dispatch import Dispatcher
from broker.http.about import about_routes
from broker.http.aws_door import AwsDoor, Dialects
from broker.http.aws_identity import AwsIdentity
from broker.http.customer import CustomerJobs
from broker.http.device import DeviceJobs
from broker.http.doors import Doors
from broker.http.events import FollowEvents
from broker.http.identity import Foreign, Identity
from broker.http.limits import RateLimit
from broker.http.rest import rest_routes
from broker.http.server import HttpServer, create_app
from broker.http.stack_runs import SeedRuns
from broker.http.watching import Gauges, Watching
from broker.mqtt.link import Link
from broker.notifier import Notifier
from broker.outside import access_keys_of
from broker.settings import Settings
from broker.streams import Streams
from schema.aws_errors import IOT, JOBS_DATA

log = structlog.get_logger(__name__)

_BURST_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Watched:
    """The parts of the serving process that /metrics and /readyz look at."""

    link: Link
    notifier: Notifier
    dispatcher: Dispatcher
    streams: Streams
    is_serving: Callable[[], bool]

    def lacks(self) -> dict[str, str]:
        """What keeps the process from serving, by name."""
        lacking = {}
        if not self.link.is_connected:
            lacking["mqtt"] = "not connected to the MQTT server"
        if not self.is_serving():
            lacking["serving"] = "requests are not taken yet, or no more"
        return lacking

    def gauges(self) -> Gauges:
        """What is read whenever somebody looks."""
        return {
            "mqtt_connected": (
                "Whether the link to the MQTT server is up",
                lambda: float(self.link.is_connected),
            ),
            "requests_held": (
                "Requests taken over MQTT and not yet answered",
                lambda: float(self.dispatcher.held),
            ),
            "notifier_rows": (
                "Rows of the outbox that wait in this process's memory",
                lambda: float(self.notifier.depth),
            ),
            "event_followers": (
                "Who follows events over HTTP from this process",
                lambda: float(self.streams.followers),
            ),
            "messages_sent": (
                "Notifications and events sent since the start",
                lambda: float(self.notifier.sent),
            ),
        }


def http_server(
    settings: Settings, doors: Doors, watched: Watched, *, more: Sequence[BaseRoute] = ()
) -> HttpServer:
    """The listener with all doors, which has the port from here on; `more` are routes that others bring along.

    Raises OSError when a port is taken.
    """
    per_key = _limit(settings.http_token_rate)
    identity = Identity(doors.pool, per_key=per_key, foreign=_issuer_of(settings))
    secret = settings.metrics_token
    watching = Watching(
        doors.pool,
        doors.metrics,
        gauges=watched.gauges(),
        lacks=watched.lacks,
        token=None if secret is None else secret.get_secret_value(),
    )
    routes = [
        *CustomerJobs(doors, identity).routes(),
        *DeviceJobs(doors, identity).routes(),
        *SeedRuns(doors, identity).routes(),
        *rest_routes(doors, identity),
        *FollowEvents(doors.pool, doors.streams, identity).routes(),
        *about_routes(),
        *watching.routes(),
        *more,
    ]
    ports: dict[int, str] = {}
    signers = AwsIdentity(doors.pool, access_keys_of(settings), per_key=per_key)
    app = Dialects(create_app(routes), AwsDoor(doors, signers, ports=ports), ports)
    server = HttpServer(
        app,
        per_address=_limit(settings.http_address_rate),
        observe=doors.metrics.note_http,
        tracing=doors.tracing,
    )
    _listen_on_all(server, settings, ports)
    return server


def _listen_on_all(server: HttpServer, settings: Settings, ports: dict[int, str]) -> None:
    """Take the port for everything, where there is one, and those of AWS's services, which `ports` has from then on."""
    port = None
    if settings.http_port is not None:
        port = _listen(server, settings.http_host, settings.http_port)
    for service, wanted in (
        (IOT, settings.http_iot_port),
        (JOBS_DATA, settings.http_jobs_data_port),
    ):
        if wanted is not None:
            ports[_listen(server, settings.http_host, wanted)] = service
    of_service = {service: own for own, service in ports.items()}
    log.info("http_listening", host=settings.http_host, port=port, **of_service)


def _listen(server: HttpServer, host: str, port: int) -> int:
    try:
        return server.listen(host, port)
    except OSError as error:
        remedy = "JOBBROKER_HTTP_HOST and JOBBROKER_HTTP_PORT say where to listen: 0 is a free port, off is nowhere"
        # Not its own strerror, which says the address once more.
        why = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(f"HTTP on {host}:{port}: {why}; {remedy}") from error


def _issuer_of(settings: Settings) -> Foreign | None:
    if settings.oidc_issuer is None or settings.oidc_audience is None:
        return None
    from broker.http.issuer_keys import IssuerKeys  # noqa: PLC0415 - PyJWT and httpx, for those who have an issuer
    from broker.http.oidc import Claims, OidcTokens  # noqa: PLC0415 - as above

    claims = Claims(
        role=settings.oidc_role_claim,
        role_prefix=settings.oidc_role_prefix,
        tenant=settings.oidc_tenant_claim,
        fixed_tenant=settings.oidc_tenant,
        name=settings.oidc_name_claim,
    )
    keys = IssuerKeys(settings.oidc_issuer)
    return OidcTokens(settings.oidc_issuer, settings.oidc_audience, claims, keys)


def _limit(rate: float) -> RateLimit:
    return RateLimit(rate, max(1.0, _BURST_SECONDS * rate))
