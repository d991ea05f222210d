"""Job documents, kept at hand: a document never changes while its job lives, and it is large.

One with placeholders is kept compiled, and filled for each device; one without costs nothing beyond being kept.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from handlers.job_documents import parameters_of
from schema.placeholders import Presigning, Template, Values, compile_document, fill
from schema.presign import PresignedUrlConfig
from schema.sql import queries

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from handlers.database import Connection
    from handlers.store import Loaded
    from schema.presign import Signer

_SQL = queries("executions")
_GOOD_FOR: Final = timedelta(seconds=2)


class Compiled(NamedTuple):
    """A document with placeholders; expires is for how many seconds its URLs are good."""

    template: Template
    expires: int


Kept = str | Compiled


class Texts:
    """The documents of a batch, as each execution's device is given them."""

    def __init__(
        self,
        kept: Mapping[int, Kept],
        attributes: Mapping[str, Mapping[str, str]],
        *,
        signer: Signer | None,
        now: datetime,
    ) -> None:
        """Take attributes of those things whose documents show some; now is when URLs begin to be good."""
        self._kept = kept
        self._attributes = attributes
        self._signer = signer
        self._now = now

    def of(self, one: Loaded) -> str:
        """The document as JSON text; `{}` when the job is gone.

        Raises Rejected (InternalError) when a URL in it cannot be signed any more.
        """
        kept = self._kept.get(one.job_uid, "{}")
        if isinstance(kept, str):
            return kept
        thing, job_id, number = one.execution.key
        signer = self._signer
        presigning = None if signer is None else Presigning(signer, self._now, kept.expires)
        values = Values(thing, job_id, number, self._attributes.get(thing, {}))
        return fill(kept.template, values, presigning)


class Documents:
    """A cache of job documents by incarnation of the job, bounded in bytes; the least used ones leave first."""

    def __init__(self, most_bytes: int = 32 * 1024 * 1024, *, signer: Signer | None = None) -> None:
        """most_bytes bounds the texts' characters that are kept; a batch's own documents are always served.

        signer signs the URLs in documents; None: no store is set up.
        """
        self._most = most_bytes
        self._held = 0
        self._signer = signer
        self._kept: OrderedDict[int, Kept] = OrderedDict()
        self._read_at: dict[int, datetime] = {}

    async def load(
        self,
        connection: Connection,
        tenant_id: str,
        asked: Sequence[Loaded],
        *,
        now: datetime,
    ) -> Texts:
        """The documents of these executions' jobs. Things' attributes are read only for those that show some."""
        wanted = {one.job_uid for one in asked}
        found = {
            uid: self._kept[uid]
            for uid in wanted
            if uid in self._kept and not self._is_old(uid, now)
        }
        for uid in found:
            self._kept.move_to_end(uid)
        if missing := wanted - found.keys():
            uids = [str(uid) for uid in missing]
            for row in await connection.fetch(_SQL["load_documents"], tenant_id, uids):
                found[row["job_uid"]] = kept = _read(row)
                self._keep(row["job_uid"], kept, now)
        showing = {
            uid
            for uid, kept in found.items()
            if not isinstance(kept, str) and kept.template.needs_attributes
        }
        things = sorted({one.execution.thing_name for one in asked if one.job_uid in showing})
        attributes = await _attributes(connection, tenant_id, things) if things else {}
        return Texts(found, attributes, signer=self._signer, now=now)

    def know(self, uid: int, text: str) -> None:
        """Keep the document of a job that is being created, which devices are given as it is."""
        self._kept[uid] = text
        self._held += len(text)
        self._shrink()

    def _is_old(self, uid: int, now: datetime) -> bool:
        """How long URLs are good may be changed while the job lives, by another process too."""
        return not isinstance(self._kept[uid], str) and now - self._read_at[uid] > _GOOD_FOR

    def _keep(self, uid: int, kept: Kept, now: datetime) -> None:
        if not isinstance(kept, str):
            self._read_at[uid] = now
        if uid in self._kept:
            self._kept[uid] = kept
            return
        self._kept[uid] = kept
        self._held += _size(kept)
        self._shrink()

    def _shrink(self) -> None:
        while self._held > self._most and self._kept:
            old, gone = self._kept.popitem(last=False)
            self._read_at.pop(old, None)
            self._held -= _size(gone)


def _read(row: asyncpg.Record) -> Kept:
    text: str = row["document"]
    if row["document_plain"]:
        return text
    template = compile_document(text, parameters_of(row))
    if template.is_fixed:
        return template.shown
    return Compiled(template, PresignedUrlConfig.from_text(row["presigned_url_config"]).expires)


def _size(kept: Kept) -> int:
    return len(kept) if isinstance(kept, str) else len(kept.template.shown)


async def _attributes(
    connection: Connection, tenant_id: str, things: Sequence[str]
) -> dict[str, dict[str, str]]:
    rows = await connection.fetch(_SQL["load_attributes"], tenant_id, things)
    return {row["thing_name"]: json.loads(row["attributes"]) for row in rows}
