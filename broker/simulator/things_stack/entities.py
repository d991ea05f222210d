"""Applications, organizations, gateways and users: create, get, list, update, delete, restore, purge, rights."""

from __future__ import annotations

from functools import partial

from broker.simulator.things_stack import masks
from broker.simulator.things_stack.access import require_authenticated
from broker.simulator.things_stack.call import Call, Reply
from broker.simulator.things_stack.errors import (
    IDENTITY,
    INVALID_ARGUMENT,
    NOT_FOUND,
    PERMISSION_DENIED,
    STORE,
    StackError,
    failed,
    not_found,
)
from broker.simulator.things_stack.ids import check_id, check_not_blocked
from broker.simulator.things_stack.kinds import ALL, APPLICATION, ORGANIZATION, USER, Kind
from broker.simulator.things_stack.paging import check_paging, listed
from broker.simulator.things_stack.rights import for_kind
from broker.simulator.things_stack.routes import Route
from broker.simulator.things_stack.state import Account, Document, Entity
from broker.simulator.things_stack.timestamps import written
from broker.simulator.things_stack.validation import check_texts


def routes() -> list[Route]:
    """Their calls, for each kind."""
    made = [route for kind in ALL for route in _of_kind(kind)]
    made += [
        _create(kind, f"/{owner}s/{{{owner}_id}}/{kind.plural}", owner)
        for kind in ALL
        for owner in kind.owners
    ]
    made += [
        _list(kind, f"/{owner}s/{{{owner}_id}}/{kind.plural}", owner)
        for kind in ALL
        for owner in kind.owners
    ]
    return [*made, _create(USER, "/users", None)]


def _of_kind(kind: Kind) -> list[Route]:
    route = partial(Route, "is")
    mask = partial(_check_mask, kind)
    update = partial(_check_body, kind, update=True)
    calls = [
        route("GET", kind.path, partial(get, kind), (mask,)),
        route("PUT", kind.path, partial(update_entity, kind), (update,)),
        route("DELETE", kind.path, partial(delete, kind)),
        route("POST", f"{kind.path}/restore", partial(restore, kind)),
        route("DELETE", f"{kind.path}/purge", partial(purge, kind)),
        route("GET", f"{kind.path}/rights", partial(my_rights, kind)),
    ]
    return calls if kind is USER else [*calls, _list(kind, f"/{kind.plural}", None)]


def _create(kind: Kind, path: str, owner: str | None) -> Route:
    check = partial(_check_body, kind, update=False)
    return Route("is", "POST", path, partial(create, kind, owner), (check,))


def _list(kind: Kind, path: str, owner: str | None) -> Route:
    checks = (check_paging, partial(_check_mask, kind))
    return Route("is", "GET", path, partial(list_entities, kind, owner), checks)


def _check_mask(kind: Kind, call: Call) -> None:
    masks.check(call.mask(), kind.fields)


def _check_body(kind: Kind, call: Call, *, update: bool) -> None:
    message = call.message(kind.name)
    check_texts(kind.name, message)
    if update:
        masks.check_update(call.mask(), kind.fields)
    else:
        check_id(f"{kind.name}.ids.{kind.param}", (message.get("ids") or {}).get(kind.param))


def create(kind: Kind, owner: str | None, call: Call) -> Reply:
    """A new entity of the owner in the path; the id stays taken for good, even after deletion."""
    message = call.message(kind.name)
    entity_id = str(message["ids"][kind.param])
    check_not_blocked(entity_id)
    account: Account | None = None
    if owner is not None:
        account = (owner, call.params[f"{owner}_id"])
        _require_may_create(kind, owner, call)
        call.require(*account, kind.owner_right(owner, "CREATE"))
        call.stack.get(*account)
    fields = {name: value for name, value in message.items() if name in _writable(kind)}
    if kind.name == "gateway" and message["ids"].get("eui"):
        fields["ids"] = {"eui": message["ids"]["eui"]}
    return Reply(shown(call.stack.add(kind.name, entity_id, fields, account), sorted(fields)))


def _writable(kind: Kind) -> frozenset[str]:
    return kind.fields - {"ids", "created_at", "updated_at", "deleted_at", "admin", "state"}


def _require_may_create(kind: Kind, owner: str, call: Call) -> None:
    options = call.stack.options
    open_to_all = {
        "application": options.users_create_applications,
        "organization": options.users_create_organizations,
    }.get(kind.name, True)
    if owner == "user" and not open_to_all and not call.caller.is_admin:
        name = f"admins_create_{kind.plural}"
        text = f"{kind.plural} may only be created by admins"
        raise StackError(PERMISSION_DENIED, IDENTITY, name, text)


def get(kind: Kind, call: Call) -> Reply:
    """One entity; what is public about it is told to any caller with credentials."""
    require_authenticated(call.caller)
    entity_id, mask = call.params[kind.param], call.mask()
    rights = call.rights(kind.name, entity_id)
    if kind.right("INFO") not in rights:
        if not masks.only_public(mask, kind.public):
            call.require(kind.name, entity_id, kind.right("INFO"))
        return Reply(public(kind, call.stack.get(kind.name, entity_id), mask))
    return Reply(shown(call.stack.get(kind.name, entity_id), mask))


def list_entities(kind: Kind, owner: str | None, call: Call) -> Reply:
    """Those that the account in the path, or the caller, collaborates on; with `deleted` those soft-deleted only."""
    account = (owner, call.params[f"{owner}_id"]) if owner else call.caller.account
    if account is None:
        return Reply()
    if kind is ORGANIZATION and account[0] == "organization":
        text = "organizations can not be nested"
        raise StackError(INVALID_ARGUMENT, IDENTITY, "nested_organizations", text)
    call.require(*account, kind.owner_right(account[0], "LIST"))
    deleted = call.last("deleted") == "true"
    found = [
        entity
        for entity in call.stack.of_kind(kind.name, deleted=deleted)
        if _collaborates(call, account, entity, indirect=owner is None)
    ]
    return listed(call, kind.plural, found, partial(_in_list, kind, call))


def _collaborates(call: Call, account: Account, entity: Entity, *, indirect: bool) -> bool:
    if account in entity.collaborators:
        return True
    between = [each for each in entity.collaborators if each[0] == "organization" and indirect]
    found = [call.stack.find(*each) for each in between]
    return any(each is not None and account in each.collaborators for each in found)


def _in_list(kind: Kind, call: Call, entity: Entity) -> Document:
    rights = call.rights(kind.name, entity.id, deleted=True)
    if kind.right("INFO") in rights:
        return shown(entity, call.mask())
    return public(kind, entity, call.mask())


def update_entity(kind: Kind, call: Call) -> Reply:
    """What the mask names is set to what the body has; an empty mask changes nothing."""
    entity_id, mask = call.params[kind.param], call.mask()
    call.require(kind.name, entity_id, kind.right("SETTINGS_BASIC"))
    entity = call.stack.get(kind.name, entity_id)
    masks.apply(call.message(kind.name), entity.fields, mask)
    entity.updated_at = call.stack.clock.now()
    return Reply(shown(entity, mask))


def delete(kind: Kind, call: Call) -> Reply:
    """Soft: hidden, keys dead, id taken. Only an application is asked whether it is empty, by its IS devices."""
    entity_id = call.params[kind.param]
    call.require(kind.name, entity_id, kind.right("DELETE"))
    entity = call.stack.get(kind.name, entity_id)
    _require_no_devices(kind, call, entity_id)
    entity.deleted_at = call.stack.clock.now()
    return Reply()


def _require_no_devices(kind: Kind, call: Call, entity_id: str) -> None:
    count = len(call.stack.devices_of(entity_id)) if kind is APPLICATION else 0
    if count:
        text = "application still has `{count}` devices"
        raise failed("application_has_devices", text, {"count": count})


def restore(kind: Kind, call: Call) -> Reply:
    """Bring a soft-deleted entity back, with its old keys and collaborators, for 24 hours."""
    entity_id = call.params[kind.param]
    call.require(kind.name, entity_id, kind.right("DELETE"), deleted=True)
    entity = call.stack.get(kind.name, entity_id, deleted=True)
    if entity.deleted_at is None:
        raise not_found(kind.name, entity_id)
    if call.stack.clock.now() - entity.deleted_at > call.stack.options.restore_window:
        raise failed("restore_window_expired", "restore window expired")
    entity.deleted_at = None
    return Reply()


def purge(kind: Kind, call: Call) -> Reply:
    """Hard, and for administrators only; what regional hosts keep under the id stays."""
    if not call.caller.is_admin:
        name = f"admins_purge_{kind.plural}"
        text = f"{kind.plural} may only be purged by admins"
        raise StackError(PERMISSION_DENIED, IDENTITY, name, text)
    entity_id = call.params[kind.param]
    _require_no_devices(kind, call, entity_id)
    entity = call.stack.find(kind.name, entity_id, deleted=True)
    if entity is None:
        attributes = {"entity_type": kind.name, "entity_id": entity_id}
        text = "{entity_type} `{entity_id}` not found"
        raise StackError(NOT_FOUND, STORE, "entity_not_found", text, attributes)
    call.stack.purge(entity)
    return Reply()


def my_rights(kind: Kind, call: Call) -> Reply:
    """What the caller may; nothing at all on what is missing, which is no error."""
    rights = for_kind(kind.name, call.rights(kind.name, call.params[kind.param]))
    return Reply({"rights": sorted(rights)} if rights else {})


def public(kind: Kind, entity: Entity, mask: list[str]) -> Document:
    """What anybody may read."""
    return shown(entity, [path for path in mask if path.split(".")[0] in kind.public])


def shown(entity: Entity, mask: list[str]) -> Document:
    """The entity as its message: ids and times, and what the mask names."""
    document = {
        **entity.fields,
        "ids": entity.ids,
        "created_at": written(entity.created_at),
        "updated_at": written(entity.updated_at),
        "admin": entity.admin,
        "state": entity.state,
    }
    always = list(masks.ALWAYS)
    if entity.deleted_at is not None:
        document["deleted_at"] = written(entity.deleted_at)
        always.append("deleted_at")
    return masks.pick(document, [*always, *mask])
