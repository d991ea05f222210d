"""What a command is carried out with, and what it comes to: the values every operator handler takes and gives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from schema.errors import Code, Rejected
from schema.secrets import NoSealer, Sealer
from schema.things_stack_hosts import StackHosts

if TYPE_CHECKING:
    from datetime import datetime

    from handlers.database import Connection
    from handlers.documents import Documents
    from handlers.store import Told
    from schema.access_keys import AccessKeys
    from schema.arns import Home
    from schema.lifecycle import Execution
    from schema.presign import Signer
    from schema.rights import Role


async def _no_source(_url: str) -> str:
    raise Rejected(
        Code.INVALID_REQUEST,
        "documentSource: not offered here; JOBBROKER_DOCUMENT_HOSTS allows hosts",
    )


@dataclass(frozen=True, slots=True)
class Outside:
    """What of the world beyond the database commands may need; without it they are told that it is not offered.

    signer signs the URLs in documents. read_source gives the document at a documentSource, or raises Rejected; it is
    awaited while no transaction is open. sealer seals the secrets that are stored; access_keys makes the access key of
    a token that is given out; stack_hosts are whom keys of The Things Stack may be shown. per_minute is
    the rate of jobs that have none of their own; None: no limit. documents keeps those of new jobs at hand.
    """

    signer: Signer | None = None
    read_source: Callable[[str], Awaitable[str]] = _no_source
    sealer: Sealer = field(default_factory=NoSealer)
    access_keys: AccessKeys | None = None
    stack_hosts: StackHosts = field(default_factory=lambda: StackHosts(()))
    per_minute: int | None = None
    documents: Documents | None = None


NOTHING: Final = Outside()


class SourceNeeded(Exception):
    """A command is all right so far and needs the document at a URL; it is to be done again with it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url


@dataclass(frozen=True, slots=True)
class Context:
    """One command's surroundings: a connection inside the tenant's transaction, who asks, and the database's clock.

    slot owns what is to be told. duplicate: the MQTT server delivered this request before, so its effect may be there.
    signer signs the URLs in documents; source is the document at the command's documentSource, once it was read.
    per_minute is the rate of a new job that has none; required_approvals is how many each of the tenant's jobs needs.
    sealer seals the secrets that are stored; access_keys makes access keys of tokens; stack_hosts are whom keys of The
    Things Stack may be shown. documents keeps those of new jobs at hand.
    """

    connection: Connection
    tenant_id: str
    home: Home
    actor: str
    role: Role
    now: datetime
    slot: int | None
    duplicate: bool = False
    signer: Signer | None = None
    source: str | None = None
    per_minute: int | None = None
    required_approvals: int = 0
    sealer: Sealer = field(default_factory=NoSealer)
    access_keys: AccessKeys | None = None
    stack_hosts: StackHosts = field(default_factory=lambda: StackHosts(()))
    documents: Documents | None = None

    def access_key(self, token: str) -> dict[str, str]:
        """The access key that a new token also is, to be shown with it: nothing where none are set up."""
        return {} if self.access_keys is None else self.access_keys.of_token(token)

    def source_at(self, url: str) -> str:
        """The document at a documentSource. Raises SourceNeeded when it was not read yet."""
        if self.source is None:
            raise SourceNeeded(url)
        return self.source


# Members of an answer that are shown once and stored nowhere, where a token is given out.
SECRETS: Final = frozenset({"token", "secretAccessKey"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an accepted command comes to.

    subject names what was changed, for the audit log; "" when nothing was. secrets are members of the body that are
    shown once and stored nowhere.
    """

    body: dict[str, object]
    told: tuple[Told, ...] = ()
    subject: str = ""
    details: dict[str, object] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()


class RejectedExecution(Rejected):
    """A refusal that shows the state of the execution it is about (AWS: executionState)."""

    def __init__(self, refusal: Rejected, execution: Execution) -> None:
        """Take the refusal and the execution as it is."""
        super().__init__(refusal.code, refusal.message, show_state=True)
        self.execution = execution


def told_of(*told: Told | None) -> tuple[Told, ...]:
    """Those of the outbox rows that were written."""
    return tuple(one for one in told if one is not None)


def not_found(what: str, name: str) -> Rejected:
    """The refusal for something that is not there."""
    return Rejected(Code.RESOURCE_NOT_FOUND, f"{what} {name!r} does not exist")
