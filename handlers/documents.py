"""Job documents, kept at hand: a document never changes while its job lives, and it is large."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from schema.sql import queries

if TYPE_CHECKING:
    from collections.abc import Iterable

    from handlers.database import Connection

_SQL = queries("executions")


class Documents:
    """A cache of job documents by incarnation of the job, bounded in bytes; the least used ones leave first."""

    def __init__(self, most_bytes: int = 32 * 1024 * 1024) -> None:
        """most_bytes bounds the texts' characters that are kept; a batch's own documents are always served."""
        self._most = most_bytes
        self._held = 0
        self._texts: OrderedDict[int, str] = OrderedDict()

    async def load(
        self, connection: Connection, tenant_id: str, job_uids: Iterable[int]
    ) -> dict[int, str]:
        """The documents (JSON text) of these incarnations; those of jobs that are gone are left out."""
        wanted = set(job_uids)
        found = {uid: self._texts[uid] for uid in wanted if uid in self._texts}
        for uid in found:
            self._texts.move_to_end(uid)
        if missing := wanted - found.keys():
            for row in await connection.fetch(_SQL["load_documents"], tenant_id, list(missing)):
                found[row["job_uid"]] = row["document"]
                self._keep(row["job_uid"], row["document"])
        return found

    def _keep(self, uid: int, text: str) -> None:
        if uid in self._texts:
            return
        self._texts[uid] = text
        self._held += len(text)
        while self._held > self._most and self._texts:
            _, gone = self._texts.popitem(last=False)
            self._held -= len(gone)
