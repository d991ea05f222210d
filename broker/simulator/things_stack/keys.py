"""API keys of entities: the secret is told once, and nobody grants what they have not."""

from __future__ import annotations

from functools import partial

from broker.simulator.things_stack import masks
from broker.simulator.things_stack.call import Call, Reply
from broker.simulator.things_stack.errors import NOT_FOUND, STORE, StackError
from broker.simulator.things_stack.kinds import ALL, Kind
from broker.simulator.things_stack.paging import check_paging, listed
from broker.simulator.things_stack.routes import Route
from broker.simulator.things_stack.state import Document, Entity
from broker.simulator.things_stack.timestamps import read, written
from broker.simulator.things_stack.tokens import ApiKey
from broker.simulator.things_stack.validation import check_key

_UPDATABLE = frozenset({"name", "rights", "expires_at"})


def routes() -> list[Route]:
    """The five calls on keys of each kind, and what a key tells of itself."""
    return [
        *(route for kind in ALL for route in _of_kind(kind)),
        Route("is", "GET", "/auth_info", auth_info),
    ]


def _of_kind(kind: Kind) -> list[Route]:
    route, one = partial(Route, "is"), f"{kind.path}/api-keys/{{key_id}}"
    return [
        route("POST", f"{kind.path}/api-keys", partial(create, kind), (_check_create,)),
        route("GET", f"{kind.path}/api-keys", partial(list_keys, kind), (check_paging,)),
        route("GET", one, partial(get, kind)),
        route("PUT", one, partial(update, kind), (_check_update,)),
        route("DELETE", one, partial(delete, kind)),
    ]


def _check_create(call: Call) -> None:
    check_key(call, "", call.body, at_least=1)


def _check_update(call: Call) -> None:
    masks.check(call.mask(), _UPDATABLE)
    check_key(call, "api_key.", call.message("api_key"), at_least=0)


def _entity(kind: Kind, call: Call, *granted: str) -> Entity:
    """The entity in the path, for a caller that may see to its keys and has what is granted."""
    entity_id = call.params[kind.param]
    call.require(kind.name, entity_id, kind.right("SETTINGS_API_KEYS"), *granted)
    return call.stack.get(kind.name, entity_id)


def _key(entity: Entity, key_id: str) -> ApiKey:
    if key_id not in entity.keys:
        raise StackError(NOT_FOUND, STORE, "api_key_not_found", "API key not found", {"id": key_id})
    return entity.keys[key_id]


def create(kind: Kind, call: Call) -> Reply:
    """A new key; the one answer that holds its secret."""
    rights = frozenset(map(str, call.body["rights"]))
    entity = _entity(kind, call, *sorted(rights))
    name = str(call.body.get("name") or "")
    expires_at = read("expires_at", call.body.get("expires_at"))
    key, told = call.stack.add_key(entity, rights, name, expires_at)
    return Reply({**shown(key), "key": told})


def list_keys(kind: Kind, call: Call) -> Reply:
    """The keys by id, without secrets."""
    keys = _entity(kind, call).keys
    return listed(call, "api_keys", [keys[key_id] for key_id in sorted(keys)], shown)


def get(kind: Kind, call: Call) -> Reply:
    """One key, without its secret."""
    return Reply(shown(_key(_entity(kind, call), call.params["key_id"])))


def update(kind: Kind, call: Call) -> Reply:
    """Change name, rights or expiry; a key that is left without rights is deleted."""
    message = call.message("api_key")
    mask = call.mask() or ["rights", "name"]
    rights = frozenset(map(str, message.get("rights") or []))
    entity = _entity(kind, call, *(sorted(rights) if "rights" in mask else ()))
    key = _key(entity, call.params["key_id"])
    if "rights" in mask and not rights:
        call.stack.remove_key(entity, key.id)
        return Reply()
    key.rights = rights if "rights" in mask else key.rights
    key.name = str(message.get("name") or "") if "name" in mask else key.name
    if "expires_at" in mask:
        key.expires_at = read("expires_at", message.get("expires_at"))
    key.updated_at = call.stack.clock.now()
    return Reply(shown(key))


def delete(kind: Kind, call: Call) -> Reply:
    """Revoke a key for good, the one in use included."""
    entity = _entity(kind, call)
    call.stack.remove_key(entity, _key(entity, call.params["key_id"]).id)
    return Reply()


def auth_info(call: Call) -> Reply:
    """Whose key this is and what it may; `{}` without credentials."""
    caller = call.caller
    if caller.entity is None or caller.key is None:
        return Reply()
    entity_ids = {f"{caller.entity.kind}_ids": caller.entity.ids}
    key = {**shown(caller.key), "rights": sorted(caller.rights)}
    body: Document = {"api_key": {"api_key": key, "entity_ids": entity_ids}}
    if caller.universal:
        body["universal_rights"] = {"rights": sorted(caller.universal)}
    if caller.is_admin:
        body["is_admin"] = True
    return Reply(body)


def shown(key: ApiKey) -> Document:
    """A key as its message, without the secret."""
    document: Document = {
        "id": key.id,
        "name": key.name,
        "rights": sorted(key.rights),
        "created_at": written(key.created_at),
        "updated_at": written(key.updated_at),
    }
    if key.expires_at is not None:
        document["expires_at"] = written(key.expires_at)
    return document if key.name else {k: v for k, v in document.items() if k != "name"}
