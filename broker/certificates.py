"""A certificate for a thing or an operator: issued, recorded, and written where its holder can fetch it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.atomic import replace_file
from broker.ca import PRIVATE, PUBLIC, CertificateAuthority, Issued, authority_directory
from broker.cli.outcome import Exit, Failure, Refused
from handlers.credentials import record_certificate
from handlers.database import tenant_transaction
from schema.errors import Code

if TYPE_CHECKING:
    from broker.cli.callers import Body, DatabaseCaller


async def hand_out(
    caller: DatabaseCaller,
    payload: Body,
    *,
    authority_dir: Path,
    out: Path,
    request: bytes | None,
    days: int,
) -> Body:
    """Register the thing of a things/create payload, when it is none yet, and certify its name.

    `request` is a signing request in PEM; without one a key is made. NAME.crt, NAME.key (when made)
    and ca.crt are written into `out`. Returns the answer, with the paths, serial and notAfter.
    Raises Refused, AuthorityMissingError, and Failure for a request that cannot be signed.
    """
    name = str(payload["thingName"])
    authority = CertificateAuthority.open(authority_directory(authority_dir, caller.tenant))
    try:
        issued = authority.issue(name, days, now=datetime.now(UTC), csr=request)
    except ValueError as error:
        raise Failure(str(error), Exit.USAGE) from error
    made: dict[str, Any] = {"thingName": name}
    try:
        made |= await caller.call("things/create", payload)
    except Refused as refused:
        if refused.code != Code.RESOURCE_ALREADY_EXISTS:
            raise
    # Recorded before it exists anywhere else: what was not recorded could not be revoked.
    async with (
        caller.pool.acquire() as raw,
        tenant_transaction(raw, caller.tenant) as connection,
    ):
        await record_certificate(
            connection,
            caller.tenant,
            name,
            serial=issued.serial,
            fingerprint=issued.fingerprint_sha256,
            not_after=issued.not_after,
        )
    files = await asyncio.to_thread(_write, out, name, issued, authority)
    return {
        **made,
        **files,
        "serial": issued.serial,
        "notAfter": issued.not_after.isoformat(timespec="seconds"),
    }


def _write(out: Path, name: str, issued: Issued, authority: CertificateAuthority) -> dict[str, str]:
    out.mkdir(parents=True, exist_ok=True)
    # A colon is legal in a thing's name and not in every file system's.
    stem = name.replace(":", "_")
    files = {"certificate": out / f"{stem}.crt", "caFile": out / "ca.crt"}
    replace_file(files["certificate"], issued.cert_pem, mode=PUBLIC)
    replace_file(files["caFile"], authority.certificate_pem, mode=PUBLIC)
    if issued.key_pem is not None:
        files["key"] = out / f"{stem}.key"
        replace_file(files["key"], issued.key_pem, mode=PRIVATE)
    return {what: str(path) for what, path in files.items()}
