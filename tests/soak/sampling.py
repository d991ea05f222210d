"""What is measured while the load runs: memory and files of the processes, sizes in the database."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from handlers.database import Connection
from tests.soak.levels import Bound

_PROC: Final = Path("/proc")
_MEGA: Final = 1_000_000
_KILO: Final = 1024

LEAST_MEGABYTES: Final = 8.0
BOUNDS: Final = {
    "broker memory, MB": Bound(0.05, LEAST_MEGABYTES),
    "Mosquitto memory, MB": Bound(0.05, LEAST_MEGABYTES),
    "broker files": Bound(0.0, 3.0),
    "Mosquitto files": Bound(0.0, 3.0),
    "tables, MB": Bound(0.1, LEAST_MEGABYTES),
    "indexes, MB": Bound(0.1, LEAST_MEGABYTES),
    "dead rows": Bound(0.25, 20_000.0),
    "outbox rows": Bound(0.25, 500.0),
    "executions": Bound(0.25, 2_000.0),
}
"""What each may grow by. 8 MB in the 18 minutes that are watched of 30, at 200 lives a second, is 37 bytes a life:
whatever is kept of each life by mistake is larger, be it an object or a row. Open files are counted one by one, so
that one in six minutes is seen. Dead rows, the outbox and what is not deleted yet go up and down by nature."""

_SIZES: Final = """
SELECT coalesce(sum(pg_table_size(relid)), 0)::bigint AS tables,
       coalesce(sum(pg_indexes_size(relid)), 0)::bigint AS indexes,
       coalesce(sum(n_dead_tup), 0)::bigint AS dead,
       (SELECT count(*) FROM outbox) AS outbox,
       (SELECT count(*) FROM jobs) AS jobs,
       (SELECT count(*) FROM executions) AS executions
FROM pg_stat_user_tables
"""
_LARGEST: Final = """
SELECT relname AS name, pg_total_relation_size(relid) AS size, n_live_tup AS live, n_dead_tup AS dead
FROM pg_stat_user_tables WHERE pg_total_relation_size(relid) > 65536 ORDER BY size DESC
"""


async def sample(admin: Connection, *, broker: int, mosquitto: int) -> dict[str, float]:
    """One value of each quantity now; broker and mosquitto are process ids."""
    sizes = await admin.fetchrow(_SIZES)
    assert sizes is not None
    return {
        "broker memory, MB": resident_megabytes(broker),
        "Mosquitto memory, MB": resident_megabytes(mosquitto),
        "broker files": open_files(broker),
        "Mosquitto files": open_files(mosquitto),
        "tables, MB": sizes["tables"] / _MEGA,
        "indexes, MB": sizes["indexes"] / _MEGA,
        "dead rows": sizes["dead"],
        "outbox rows": sizes["outbox"],
        "jobs": sizes["jobs"],
        "executions": sizes["executions"],
    }


async def largest_tables(admin: Connection) -> list[dict[str, float | str]]:
    """Each table's size in MB with its indexes and its rows, to find out which one grew."""
    return [
        {
            "table": row["name"],
            "mb": round(row["size"] / _MEGA, 2),
            "live": row["live"],
            "dead": row["dead"],
        }
        for row in await admin.fetch(_LARGEST)
    ]


def resident_megabytes(pid: int) -> float:
    """A process's own and shared memory now, in 10^6 bytes. Raises OSError when it has ended."""
    for line in (_PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * _KILO / _MEGA
    raise ProcessLookupError(f"process {pid} has ended")


def open_files(pid: int) -> int:
    """How many descriptors a process has open. Raises OSError when it has ended."""
    return sum(1 for _ in (_PROC / str(pid) / "fd").iterdir())
