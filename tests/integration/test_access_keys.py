"""Access keys: shown with tokens, found by their ids, good as long as their tokens; who is wrong is slowed down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from starlette.requests import Request

from broker.http.aws_answers import refused as answer_of
from broker.http.aws_identity import AwsIdentity
from broker.http.identity import Identity
from broker.http.limits import RateLimit
from handlers.context import Outside
from handlers.database import Pool
from handlers.tokens import digest_for_key, find_access_key
from schema.access_keys import AccessKeys
from schema.aws_errors import IOT, JOBS_DATA, AwsError
from schema.rights import Role
from schema.sigv4 import SignedRequest
from tests.integration.operator_desk import Desk

KEYS = AccessKeys([bytes(32)])
_make_request: Callable[..., Any] = AWSRequest
_signer: Callable[..., Any] = SigV4Auth


@pytest.fixture
def desk(pool: Pool) -> Desk:
    """An owner where access keys are set up."""
    return Desk(pool, outside=Outside(access_keys=KEYS))


def signed(made: dict[str, Any], service: str = IOT, *, secret: str | None = None) -> SignedRequest:
    """A request signed with the access key that a token was shown with."""
    request = _make_request("GET", "http://h/jobs", {"Host": "h"})
    keys = ReadOnlyCredentials(made["accessKeyId"], secret or made["secretAccessKey"], None)
    _signer(keys, service, "us-east-1").add_auth(request)
    headers = tuple((name.lower(), value) for name, value in request.headers.items())
    return SignedRequest("GET", "/jobs", "", headers)


def identity(pool: Pool, keys: AccessKeys | None = KEYS, *, rate: float = 0) -> AwsIdentity:
    """Who verifies."""
    return AwsIdentity(pool, keys, per_key=RateLimit(rate, 1))


async def refusal(asked: AwsIdentity, request: SignedRequest) -> str:
    """The code with which a request is refused."""
    with pytest.raises(AwsError) as refused:
        await asked.verify(request, "127.0.0.1", None)
    return refused.value.code


async def test_every_token_is_an_access_key(
    desk: Desk, pool: Pool, admin: asyncpg.Connection
) -> None:
    """Whichever command gives it out shows both, this once; whose it is, and in which role, is found by the id."""
    operator = {"operatorName": "bob", "role": "manager", "clientToken": "c1"}
    made = {
        "bob": await desk.accepted("operators/create", operator),
        "t1": await desk.accepted("things/create", {"thingName": "t1", "issueToken": True}),
        "bob's": await desk.accepted("tokens/create", {"operatorName": "bob"}),
    }
    made["t1 again"] = await desk.accepted("credentials/issue", {"thingName": "t1"})
    assert "secretAccessKey" not in await desk.accepted("operators/create", operator)
    for who, shown in made.items():
        assert shown["secretAccessKey"] == KEYS.of_token(shown["token"])["secretAccessKey"]
        holder = await find_access_key(pool, shown["accessKeyId"])
        if who == "t1":
            assert holder is None  # another token was issued since
            continue
        assert holder is not None
        assert holder.bearer.name == who.split("'")[0].split()[0]
        assert holder.role == (None if holder.bearer.kind == "thing" else Role.MANAGER)
        found, service = await identity(pool).verify(signed(shown, JOBS_DATA), "::1", None)
        assert (found, service) == (holder, JOBS_DATA)
    listed = (await desk.accepted("tokens/list"))["tokens"]
    assert {one["accessKeyId"] for one in listed} == {
        made["bob"]["accessKeyId"],
        made["bob's"]["accessKeyId"],
    }
    assert all("lastUsedAt" in one for one in listed)
    digest = await digest_for_key(pool, "default", kind="operator", name="bob", who="cli:x")
    assert digest is not None
    assert KEYS.of_digest(digest)["accessKeyId"] == made["bob"]["accessKeyId"]
    assert await digest_for_key(pool, "default", kind="thing", name="bob", who="cli:x") is None
    kept = await admin.fetch(
        "SELECT credentials::text AS row FROM credentials"
        " UNION ALL SELECT reply FROM operator_requests"
    )
    assert kept
    for shown in made.values():
        assert not [row for row in kept if shown["secretAccessKey"] in row["row"]]


async def test_a_key_ends_with_its_token(desk: Desk, pool: Pool, admin: asyncpg.Connection) -> None:
    """Revoked, expired, or its operator gone: nobody's from then on."""
    for name in ("bob", "eve"):
        await desk.accepted("operators/create", {"operatorName": name, "role": "viewer"})
    revoked, expired, orphan = [
        await desk.accepted("tokens/create", {"operatorName": name})
        for name in ("bob", "bob", "eve")
    ]
    await desk.accepted("tokens/revoke", {"tokenId": revoked["tokenId"]})
    await admin.execute(
        "UPDATE credentials SET not_after = now() - interval '1 s' WHERE credential_id = $1::uuid",
        expired["tokenId"],
    )
    await desk.accepted("operators/delete", {"operatorName": "eve"})
    for shown in (revoked, expired, orphan):
        assert await refusal(identity(pool), signed(shown)) == "UnrecognizedClientException"


async def test_who_is_wrong_or_comes_too_often_waits(desk: Desk, pool: Pool) -> None:
    """Twenty wrong signatures from an address, or more requests with a key than the rate: ThrottlingException."""
    shown = await desk.accepted("operators/create", {"operatorName": "bob", "role": "viewer"})
    limited = identity(pool, rate=0.001)
    await limited.verify(signed(shown), "10.0.0.1", None)
    with pytest.raises(AwsError, match="too many requests with this access key") as refused:
        await limited.verify(signed(shown), "10.0.0.1", None)
    assert (refused.value.code, refused.value.retry_after) == ("ThrottlingException", 1000)
    assert answer_of(refused.value).headers["retry-after"] == "1000"
    asked = identity(pool)
    for _ in range(20):
        wrong = signed(shown, secret="x" * 43)
        assert await refusal(asked, wrong) == "InvalidSignatureException"
    assert await refusal(asked, signed(shown)) == "ThrottlingException"
    await asked.verify(signed(shown), "10.0.0.2", None)


async def test_a_token_and_its_access_key_have_one_limit(desk: Desk, pool: Pool) -> None:
    """Whoever uses both does not come twice as often."""
    shown = await desk.accepted("operators/create", {"operatorName": "bob", "role": "viewer"})
    limit = RateLimit(0.001, 1)
    bearer = [(b"authorization", f"Bearer {shown['token']}".encode())]
    await Identity(pool, per_key=limit).operator(Request({"type": "http", "headers": bearer}))
    aws = AwsIdentity(pool, KEYS, per_key=limit)
    assert await refusal(aws, signed(shown)) == "ThrottlingException"


async def test_without_the_setting_no_key_is_good(pool: Pool) -> None:
    """None is shown, and the refusal says what is missing; a scope of another service is none of ours."""
    plain = Desk(pool)
    made = await plain.accepted("operators/create", {"operatorName": "bob", "role": "viewer"})
    assert not {"accessKeyId", "secretAccessKey"} & made.keys()
    shown = KEYS.of_token(made["token"])
    assert await refusal(identity(pool, None), signed(shown)) == "UnrecognizedClientException"
    assert await refusal(identity(pool), signed(shown, "s3")) == "InvalidSignatureException"
    await identity(pool).verify(signed(shown, "s3"), "127.0.0.1", IOT)
