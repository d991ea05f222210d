"""Who works together on an entity, and with which rights."""

from __future__ import annotations

from functools import partial
from typing import Final

from broker.simulator.things_stack.call import Call, Reply, as_object
from broker.simulator.things_stack.errors import NOT_FOUND, STORE, StackError, failed, invalid
from broker.simulator.things_stack.ids import check_id
from broker.simulator.things_stack.kinds import ALL, ORGANIZATION, USER, Kind
from broker.simulator.things_stack.paging import check_paging, listed
from broker.simulator.things_stack.rights import ALL_RIGHTS, NONE, Rights, implied
from broker.simulator.things_stack.routes import Route
from broker.simulator.things_stack.state import Account, Document, Entity
from broker.simulator.things_stack.validation import check_rights

_ACCOUNTS: Final = ("user", "organization")


def routes() -> list[Route]:
    """Set, list, get and delete; an organization's are deleted at a path in the plural."""
    made: list[Route] = []
    for kind in ALL:
        if kind is USER:
            continue
        all_of = f"{kind.path}/collaborators"
        made += [
            Route("is", "PUT", all_of, partial(set_one, kind), (_check_set,)),
            Route("is", "GET", all_of, partial(list_all, kind), (check_paging,)),
        ]
        accounts = ("user",) if kind is ORGANIZATION else _ACCOUNTS
        for account in accounts:
            one = f"{kind.path}/collaborator/{account}/{_parameter(account)}"
            removed = one.replace("/collaborator/", "/collaborators/")
            made += [
                Route("is", "GET", one, partial(get, kind, account)),
                Route(
                    "is",
                    "DELETE",
                    removed if kind is ORGANIZATION else one,
                    partial(delete, kind, account),
                ),
            ]
    return made


def _parameter(account: str) -> str:
    # The path may hold an organization's id already.
    return f"{{member_{account}_id}}"


def _right(kind: Kind) -> str:
    return kind.right("SETTINGS_MEMBERS" if kind is ORGANIZATION else "SETTINGS_COLLABORATORS")


def _account(message: Document) -> Account:
    ids = as_object("ids", message.get("ids"))
    for kind in _ACCOUNTS:
        if f"{kind}_ids" in ids:
            account_id = as_object(f"{kind}_ids", ids[f"{kind}_ids"]).get(f"{kind}_id")
            return kind, check_id(f"collaborator.ids.{kind}_ids.{kind}_id", account_id)
    raise invalid("collaborator.ids", "value is required")


def _check_set(call: Call) -> None:
    message = call.message("collaborator")
    _account(message)
    check_rights("collaborator.rights", message.get("rights") or [], at_least=0)


def _entity(kind: Kind, call: Call, *granted: str) -> Entity:
    entity_id = call.params[kind.param]
    call.require(kind.name, entity_id, _right(kind), *granted)
    return call.stack.get(kind.name, entity_id)


def set_one(kind: Kind, call: Call) -> Reply:
    """Give an account these rights and no others; none takes it off."""
    message = call.message("collaborator")
    account = _account(message)
    rights = frozenset(map(str, message.get("rights") or []))
    entity = _entity(kind, call, *sorted(rights))
    call.stack.get(*account)
    _change(kind, entity, account, rights)
    return Reply()


def _change(kind: Kind, entity: Entity, account: Account, rights: Rights) -> None:
    """Change an account's rights. Raises StackError (400) when nobody would be left who may do all."""
    after = {**entity.collaborators, account: rights}
    if not rights:
        del after[account]
    every = frozenset({f"RIGHT_{kind.name.upper()}_ALL"})
    if not any(every <= implied(granted) & ALL_RIGHTS for granted in after.values()):
        text = f"{kind.name} must have at least one collaborator with all rights"
        raise failed(f"{kind.name}_needs_collaborator", text)
    entity.collaborators = after


def list_all(kind: Kind, call: Call) -> Reply:
    """All of them, with their rights."""
    entity = _entity(kind, call)
    return listed(
        call, "collaborators", sorted(entity.collaborators.items()), lambda each: _shown(*each)
    )


def get(kind: Kind, account: str, call: Call) -> Reply:
    """One of them."""
    entity, member = _entity(kind, call), (account, call.params[f"member_{account}_id"])
    if member not in entity.collaborators:
        raise _missing(member)
    return Reply(_shown(member, entity.collaborators[member]))


def delete(kind: Kind, account: str, call: Call) -> Reply:
    """Take one off."""
    entity, member = _entity(kind, call), (account, call.params[f"member_{account}_id"])
    if member not in entity.collaborators:
        raise _missing(member)
    _change(kind, entity, member, NONE)
    return Reply()


def _missing(member: Account) -> StackError:
    attributes = {"account_type": member[0], "account_id": member[1]}
    text = "{account_type} `{account_id}` is not a member"
    return StackError(NOT_FOUND, STORE, "membership_not_found", text, attributes)


def _shown(account: Account, rights: Rights) -> Document:
    kind, account_id = account
    return {"ids": {f"{kind}_ids": {f"{kind}_id": account_id}}, "rights": sorted(rights)}
