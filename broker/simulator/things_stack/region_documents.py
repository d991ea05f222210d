"""What applications keep on regional hosts besides devices: webhooks, pub/subs, the link, packages, join settings.

Each is kept under the application's id, whether or not there is such an application: what one leaves behind, the next
of the same id inherits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from broker.simulator.things_stack import masks
from broker.simulator.things_stack.call import Call, Reply, as_object
from broker.simulator.things_stack.errors import NOT_FOUND, StackError, invalid, redis_not_found
from broker.simulator.things_stack.ids import check_id
from broker.simulator.things_stack.region_devices import READ_KEYS, WRITE_KEYS
from broker.simulator.things_stack.routes import Route
from broker.simulator.things_stack.state import Document, Host, device_ids
from broker.simulator.things_stack.timestamps import written

_BASIC: Final = "RIGHT_APPLICATION_SETTINGS_BASIC"
_TRAFFIC: Final = "RIGHT_APPLICATION_TRAFFIC_READ"
_DOWN: Final = "RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE"
_PACKAGES: Final = "RIGHT_APPLICATION_SETTINGS_PACKAGES"
_MOST_HEADERS, _LONGEST_HEADER, _LONGEST_HEADER_VALUE = 50, 64, 4096
_LONGEST_PATH, _LONGEST_KEY = 64, 128


@dataclass(frozen=True, slots=True)
class Named:
    """Documents that an application has several of, each under an id of its own."""

    path: str
    message: str
    plural: str
    id_name: str
    kept: Callable[[Host], dict[str, dict[str, Document]]]
    check: Callable[[Document], None]

    def of(self, call: Call) -> dict[str, Document]:
        """Those of the application in the path."""
        return self.kept(call.host).setdefault(call.application_id, {})


def _check_webhook(webhook: Document) -> None:
    url = webhook.get("base_url") or ""
    if url and not urlsplit(str(url)).scheme:
        raise invalid("webhook.base_url", "value must be a valid URI")
    headers = as_object("headers", webhook.get("headers"))
    if len(headers) > _MOST_HEADERS:
        raise invalid("webhook.headers", "value must contain no more than 50 pair(s)")
    for name, value in headers.items():
        if len(name) > _LONGEST_HEADER or len(str(value)) > _LONGEST_HEADER_VALUE:
            raise invalid(f"webhook.headers[{name}]", "too long")
    if len(str(webhook.get("downlink_api_key") or "")) > _LONGEST_KEY:
        raise invalid("webhook.downlink_api_key", "value length must be at most 128 runes")
    for name, value in webhook.items():
        path = value.get("path") if isinstance(value, dict) else None
        if path is not None and len(str(path)) > _LONGEST_PATH:
            raise invalid(f"webhook.{name}.path", "value length must be at most 64 runes")


def _check_nothing(_message: Document) -> None:
    """A pub/sub's connections are of no concern here."""


WEBHOOKS: Final = Named(
    "webhooks", "webhook", "webhooks", "webhook_id", lambda host: host.webhooks, _check_webhook
)
PUBSUBS: Final = Named(
    "pubsub", "pubsub", "pubsubs", "pub_sub_id", lambda host: host.pubsubs, _check_nothing
)


def routes() -> list[Route]:
    """All of these calls."""
    return [
        *_named_routes(WEBHOOKS),
        *_named_routes(PUBSUBS),
        *_link_routes(),
        *_package_routes(),
        *_join_routes(),
    ]


def _named_routes(named: Named) -> list[Route]:
    route = partial(Route, "as")
    all_of = f"/as/{named.path}/{{application_id}}"
    one = f"{all_of}/{{{named.id_name}}}"
    check = partial(_check_named, named)
    return [
        route("GET", all_of, partial(list_named, named)),
        route("POST", all_of, partial(set_named, named), (check,)),
        route("GET", one, partial(get_named, named)),
        route("PUT", one, partial(set_named, named), (check,)),
        route("DELETE", one, partial(delete_named, named)),
    ]


def _named_id(named: Named, call: Call) -> Any:  # noqa: ANN401 - whatever the body has
    in_path = call.params.get(named.id_name)
    return in_path or as_object("ids", call.message(named.message).get("ids")).get(named.id_name)


def _check_named(named: Named, call: Call) -> None:
    check_id(f"{named.message}.ids.{named.id_name}", _named_id(named, call))
    named.check(call.message(named.message))


def list_named(named: Named, call: Call) -> Reply:
    """All of the application's; releases from 3.34 on give at most 100, and so many are the total."""
    call.require("application", call.application_id, _TRAFFIC)
    kept = named.of(call)
    most = call.stack.options.regional_list_limit
    found = [_shown(call, kept[each]) for each in sorted(kept)][:most]
    headers = {"X-Total-Count": str(len(found))}
    return Reply({named.plural: found} if found else {}, headers)


def get_named(named: Named, call: Call) -> Reply:
    """One of them."""
    call.require("application", call.application_id, _TRAFFIC)
    kept = named.of(call)
    if call.params[named.id_name] not in kept:
        raise redis_not_found()
    return Reply(_shown(call, kept[call.params[named.id_name]]))


def set_named(named: Named, call: Call) -> Reply:
    """Create or update: what the mask names."""
    call.require("application", call.application_id, _BASIC, _TRAFFIC, _DOWN)
    own_id, now = str(_named_id(named, call)), written(call.stack.clock.now())
    kept = named.of(call)
    document = kept.setdefault(own_id, {"created_at": now})
    application = {"application_id": call.application_id}
    document["ids"] = {named.id_name: own_id, "application_ids": application}
    document["updated_at"] = now
    paths = [path for path in call.mask() if path.split(".")[0] != "ids"]
    masks.apply(call.message(named.message), document, paths)
    return Reply(_shown(call, document))


def delete_named(named: Named, call: Call) -> Reply:
    """Whether or not it was there."""
    call.require("application", call.application_id, _BASIC, _TRAFFIC, _DOWN)
    named.of(call).pop(call.params[named.id_name], None)
    return Reply()


def _shown(call: Call, document: Document) -> Document:
    return masks.pick(document, [*masks.ALWAYS, *call.mask()])


def _link_routes() -> list[Route]:
    link = "/as/applications/{application_id}/link"
    return [
        Route("as", "GET", link, get_link),
        Route("as", "PUT", link, set_link),
        Route("as", "DELETE", link, delete_link),
    ]


def get_link(call: Call) -> Reply:
    """The application's link."""
    call.require("application", call.application_id, _BASIC)
    if call.application_id not in call.host.links:
        raise redis_not_found()
    return Reply(masks.pick(call.host.links[call.application_id], call.mask()))


def set_link(call: Call) -> Reply:
    """Create or update the link."""
    call.require("application", call.application_id, _BASIC)
    document = call.host.links.setdefault(call.application_id, {})
    masks.apply(call.message("link"), document, call.mask())
    return Reply(masks.pick(document, call.mask()))


def delete_link(call: Call) -> Reply:
    """Whether or not there was one; the default package associations go with it."""
    call.require("application", call.application_id, _BASIC)
    call.host.links.pop(call.application_id, None)
    call.host.associations.pop(call.application_id, None)
    return Reply()


def _package_routes() -> list[Route]:
    made = []
    for base in (
        "/as/applications/{application_id}/packages/associations",
        "/as/applications/{application_id}/devices/{device_id}/packages/associations",
    ):
        made += [
            Route("as", "GET", base, list_associations),
            Route("as", "GET", f"{base}/{{f_port}}", get_association),
            Route("as", "PUT", f"{base}/{{f_port}}", set_association),
            Route("as", "DELETE", f"{base}/{{f_port}}", delete_association),
        ]
    return made


def _associations(call: Call) -> dict[str, Document]:
    call.require("application", call.application_id, _PACKAGES)
    if "device_id" in call.params:
        return call.host.device_associations.setdefault(call.device_key, {})
    return call.host.associations.setdefault(call.application_id, {})


def list_associations(call: Call) -> Reply:
    """The packages of an application, or of a device."""
    found = [_shown(call, each) for _, each in sorted(_associations(call).items())]
    name = "associations" if "device_id" in call.params else "defaults"
    return Reply({name: found} if found else {}, {"X-Total-Count": str(len(found))})


def get_association(call: Call) -> Reply:
    """The package on one port."""
    kept = _associations(call)
    if call.params["f_port"] not in kept:
        raise redis_not_found()
    return Reply(_shown(call, kept[call.params["f_port"]]))


def set_association(call: Call) -> Reply:
    """Put a package on a port."""
    name = "association" if "device_id" in call.params else "default"
    port, now = call.params["f_port"], written(call.stack.clock.now())
    document = _associations(call).setdefault(port, {"created_at": now})
    owner = {"application_ids": {"application_id": call.application_id}}
    if "device_id" in call.params:
        owner = {"end_device_ids": device_ids(call.device_key)}
    document |= {"ids": {**owner, "f_port": port}, "updated_at": now}
    paths = [path for path in call.mask() if path.split(".")[0] != "ids"]
    masks.apply(call.message(name), document, paths)
    return Reply(_shown(call, document))


def delete_association(call: Call) -> Reply:
    """Take the package off a port."""
    _associations(call).pop(call.params["f_port"], None)
    return Reply()


def _join_routes() -> list[Route]:
    settings = "/js/applications/{application_id}/settings"
    return [
        Route("js", "GET", settings, get_join_settings),
        Route("js", "POST", settings, set_join_settings),
        Route("js", "DELETE", settings, delete_join_settings),
    ]


def _no_join_settings() -> StackError:
    text = "application activation settings not found"
    name = "application_activation_settings_not_found"
    return StackError(NOT_FOUND, "pkg/joinserver", name, text)


def get_join_settings(call: Call) -> Reply:
    """How the application's devices are activated."""
    call.require("application", call.application_id, READ_KEYS)
    if call.application_id not in call.host.join_settings:
        raise _no_join_settings()
    return Reply(masks.pick(call.host.join_settings[call.application_id], call.mask()))


def set_join_settings(call: Call) -> Reply:
    """Create or update them."""
    call.require("application", call.application_id, READ_KEYS, WRITE_KEYS)
    document = call.host.join_settings.setdefault(call.application_id, {})
    masks.apply(call.message("settings"), document, call.mask())
    return Reply(masks.pick(document, call.mask()))


def delete_join_settings(call: Call) -> Reply:
    """Remove them; none there is an error here."""
    call.require("application", call.application_id, READ_KEYS, WRITE_KEYS)
    if call.host.join_settings.pop(call.application_id, None) is None:
        raise _no_join_settings()
    return Reply()
