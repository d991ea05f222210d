"""Who signed a request of AWS's dialect: an operator or a thing, by the access key that their token is."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Final

from broker.http.doors import patiently
from broker.http.limits import RateLimit
from handlers.database import Pool
from handlers.tokens import KeyHolder, find_access_key
from schema.access_keys import AccessKeys
from schema.aws_errors import IOT, JOBS_DATA, AwsError, throttled
from schema.sigv4 import Claim, SignedRequest, check_signature, check_time, read_claim

# Wrong signatures an address may send at once, and how many a second on the long run.
_WRONG_BURST: Final = 20.0
_WRONG_RATE: Final = 1.0


class AwsIdentity:
    """Verifies signatures, and slows down addresses that send wrong ones before the database is asked."""

    def __init__(self, pool: Pool, keys: AccessKeys | None, *, per_key: RateLimit) -> None:
        self._pool = pool
        self._keys = keys
        self._per_key = per_key
        self._wrong = RateLimit(_WRONG_RATE, _WRONG_BURST)

    async def verify(
        self, request: SignedRequest, address: str, service: str | None
    ) -> tuple[KeyHolder, str]:
        """Who signed a request, and for which service; the signature may be for any where `service` says which it is.

        Raises AwsError with AWS's codes (403 InvalidSignatureException and its like), ThrottlingException for an
        address that was wrong too often and for a key that comes too often; Refusal while the database is away.
        """
        claim = read_claim(request)
        service = service or _service(claim)
        wait = self._wrong.is_spent(address)
        if wait is not None:
            raise throttled(service, "too many wrong signatures from your address", wait)
        check_time(claim, datetime.now(UTC))
        holder = await self._holder(claim, address)
        assert self._keys is not None  # noqa: S101 - `_holder` has refused
        try:
            check_signature(request, claim, self._keys.secrets_of(holder.digest))
        except AwsError:
            self._wrong.take(address)
            raise
        # By the name that the same token has where it comes as such: one limit for both.
        wait = self._per_key.take(str(holder.bearer.credential))
        if wait is not None:
            raise throttled(service, "too many requests with this access key", wait)
        return holder, service

    async def _holder(self, claim: Claim, address: str) -> KeyHolder:
        if self._keys is None:
            raise _unknown("access keys need JOBBROKER_SECRET_KEY, which this broker does not have")

        async def once(*, duplicate: bool) -> KeyHolder | None:  # noqa: ARG001 - looking twice does no harm
            return await find_access_key(self._pool, claim.access_key)

        holder = await patiently(once)
        if holder is None:
            self._wrong.take(address)
            raise _unknown("The security token included in the request is invalid.")
        return holder


def _service(claim: Claim) -> str:
    services: Collection[str] = (IOT, JOBS_DATA)
    if claim.service in services:
        return claim.service
    raise AwsError(
        "InvalidSignatureException",
        403,
        f"Credential should be scoped to correct service: '{IOT}' or '{JOBS_DATA}'.",
    )


def _unknown(message: str) -> AwsError:
    return AwsError("UnrecognizedClientException", 403, message)
