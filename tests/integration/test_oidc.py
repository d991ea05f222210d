"""Tokens of an OpenID issuer: which are good, whom they stand for, and what happens when keys or the issuer go."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives import serialization

from broker.http.issuer_keys import FRESH_SECONDS, RETRY_SECONDS, IssuerKeys
from broker.http.oidc import Claims, OidcTokens
from broker.http.refusal import Refusal
from handlers.operator_plane import Actor
from schema.rights import Role
from tests.fake_issuer import AUDIENCE, FakeIssuer, fake_issuer
from tests.helpers import eventually


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time it is set to."""
        return self.now


@pytest.fixture
async def issuer() -> AsyncIterator[FakeIssuer]:
    """One with a key."""
    async with fake_issuer() as made:
        yield made


@pytest.fixture
def clock() -> Clock:
    """For the keys' age."""
    return Clock()


def tokens_of(issuer: FakeIssuer, clock: Clock, claims: Claims | None = None) -> OidcTokens:
    """What a broker has for an issuer."""
    return OidcTokens(issuer.url, AUDIENCE, claims or Claims(), IssuerKeys(issuer.url, clock=clock))


async def refusal(tokens: OidcTokens, token: str) -> tuple[int, str]:
    """Status and words for a token that is not good; no part of it is in them."""
    with pytest.raises(Refusal) as it:
        await tokens.identify(token)
    words = str(it.value.detail)
    assert not [part for part in token.split(".") if len(part) > 8 and part in words]
    assert it.value.__cause__ is None
    return it.value.status_code, words


async def test_a_good_token_is_an_operator(issuer: FakeIssuer, clock: Clock) -> None:
    """Its name, its role, its tenant; keys are asked for once."""
    issuer.add_key("e1", algorithm="ES256")
    tokens = tokens_of(issuer, clock)
    eve = Actor("default", "oidc/eve", Role.MANAGER)
    assert await tokens.identify(issuer.token("k1")) == eve
    assert await tokens.identify(issuer.token("e1", algorithm="ES256")) == eve
    both = issuer.token("k1", roles=["viewer", "admin", "accounting"], aud=["other", AUDIENCE])
    assert await tokens.identify(both) == Actor("default", "oidc/eve", Role.ADMIN)
    late = issuer.token("k1", exp=int(time.time()) - 5)
    assert await tokens.identify(late) == eve, "clocks may be some seconds apart"
    assert set(issuer.asked.values()) == {1}


async def test_claims_are_where_the_settings_say(issuer: FakeIssuer, clock: Clock) -> None:
    """Inner claims, prefixes, a tenant of its own; a claim whose name has dots comes first."""
    inner = Claims(role="realm_access.roles", role_prefix="jobs-", tenant="org", name="email")
    tokens = tokens_of(issuer, clock, inner)
    said: dict[str, Any] = {"email": "eve@example.net", "org": "acme", "roles": None}
    good = issuer.token("k1", **said, realm_access={"roles": ["owner", "jobs-viewer"]})
    assert await tokens.identify(good) == Actor("acme", "oidc/eve@example.net", Role.VIEWER)
    dotted = issuer.token("k1", **said, **{"realm_access.roles": "jobs-admin jobs-viewer"})
    assert (await tokens.identify(dotted)).role is Role.ADMIN
    for wrong, word in (
        ({"realm_access": {"roles": ["owner"]}}, "realm_access.roles"),
        ({"realm_access": "jobs-owner"}, "realm_access.roles"),
        ({"realm_access": {"roles": {"jobs-owner": 1}}}, "realm_access.roles"),
        ({"org": None}, "org"),
        ({"org": "a/b"}, "org"),
        ({"org": ["acme"]}, "org"),
        ({"email": None}, "email"),
        ({"email": "e" * 129}, "email"),
        ({"email": "eve\n"}, "email"),
    ):
        claims: dict[str, Any] = {**said, "realm_access": {"roles": ["jobs-viewer"]}, **wrong}
        status, words = await refusal(tokens, issuer.token("k1", **claims))
        assert (status, word in words) == (403, True), (wrong, words)


def unsigned(header: dict[str, object], claims: dict[str, object]) -> str:
    """A token without a signature."""
    parts = [json.dumps(one).encode() for one in (header, claims)]
    return ".".join([base64.urlsafe_b64encode(one).decode().rstrip("=") for one in parts]) + "."


async def test_what_is_refused(issuer: FakeIssuer, clock: Clock) -> None:
    """Other keys, algorithms, issuers, audiences, times, missing claims, and what is no token at all."""
    tokens = tokens_of(issuer, clock)
    other = FakeIssuer(url=issuer.url)
    other.add_key("k1")
    good = issuer.token("k1")
    now = int(time.time())
    public = issuer.private["k1"].public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    claims: dict[str, object] = {"iss": issuer.url, "aud": AUDIENCE, "sub": "eve", "exp": now + 99}
    cases = {
        other.token("k1"): "wrong signature",
        good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB"): "wrong signature",
        unsigned({"alg": "none", "kid": "k1"}, claims): "not signed as it should be",
        unsigned({"alg": "HS256", "kid": "k1"}, claims): "not signed as it should be",
        unsigned({"alg": "RS512", "kid": "k1"}, claims): "key that its issuer does not have",
        unsigned({"alg": "RS256", "kid": 7}, claims): "",
        unsigned({"alg": ["RS256"], "kid": "k1"}, claims): "",
        issuer.token("k1", exp=now - 60): "has expired",
        issuer.token("k1", nbf=now + 60): "not good yet",
        issuer.token("k1", exp="soon"): "not good",
        issuer.token("k1", aud="another"): "another audience",
        issuer.token("k1", iss="https://example.net"): "another issuer",
        issuer.token("k1", exp=None): "lacks",
        issuer.token("k1", sub=None): "lacks",
        issuer.token("k1", aud=None): "lacks",
        "a.b.c": "no JSON Web Token",
        "..": "no JSON Web Token",
        base64.urlsafe_b64encode(b"[" * 3000).decode() + ".a.b": "no JSON Web Token",
    }
    for token, words in cases.items():
        status, said = await refusal(tokens, token)
        assert status == 401
        assert words in said, (words, said)
    assert pem not in json.dumps(issuer.public).encode()
    assert (await tokens.identify(good)).name == "oidc/eve"


async def test_keys_rotate(issuer: FakeIssuer, clock: Clock) -> None:
    """A new key is looked for at once, then not more often than every ten seconds; a withdrawn one is gone in time."""
    tokens = tokens_of(issuer, clock)
    await tokens.identify(issuer.token("k1"))
    issuer.add_key("k2")
    clock.now += RETRY_SECONDS
    await tokens.identify(issuer.token("k2"))
    asked = issuer.asked.total()
    issuer.add_key("k3")
    for _ in range(5):
        status, words = await refusal(tokens, issuer.token("k3"))
        assert (status, "does not have" in words) == (401, True)
    assert issuer.asked.total() == asked
    clock.now += RETRY_SECONDS
    await tokens.identify(issuer.token("k3"))
    del issuer.public["k1"]
    await tokens.identify(issuer.token("k1"))
    clock.now += FRESH_SECONDS
    old = issuer.token("k1")
    await tokens.identify(old)  # and behind it the keys are asked for again

    async def gone() -> bool:
        try:
            await tokens.identify(old)
        except Refusal as refused:
            return refused.status_code == 401
        return False

    assert await eventually(gone)
    assert (await tokens.identify(issuer.token("k2"))).name == "oidc/eve"


async def test_an_issuer_that_is_away(issuer: FakeIssuer, clock: Clock) -> None:
    """Who is known goes on; who is not is told to come again; and it is all well when the issuer is back."""
    tokens = tokens_of(issuer, clock)
    await tokens.identify(issuer.token("k1"))
    port = urlsplit(issuer.url).port or 0
    await issuer.stop()
    issuer.add_key("k2")
    clock.now += FRESH_SECONDS
    for _ in range(3):
        await tokens.identify(issuer.token("k1"))
    clock.now += RETRY_SECONDS
    status, words = await refusal(tokens, issuer.token("k2"))
    assert (status, "cannot be reached" in words) == (503, True)
    await issuer.start(port)
    clock.now += RETRY_SECONDS
    assert (await tokens.identify(issuer.token("k2"))).name == "oidc/eve"


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "https://somebody.example.net"},
        {"jwks_uri": "http://keys.example.net/keys"},
        {"jwks_uri": None},
        {"jwks_uri": "http://[::1/keys"},
    ],
)
async def test_a_discovery_document_that_is_not_believed(
    issuer: FakeIssuer, clock: Clock, wrong: dict[str, object]
) -> None:
    """One of another issuer, or keys that would come over a line that anybody may write on."""
    issuer.discovery = wrong
    status, _ = await refusal(tokens_of(issuer, clock), issuer.token("k1"))
    assert status == 503
    assert issuer.asked["/realm/keys"] == 0


async def test_a_token_without_a_key_id(issuer: FakeIssuer, clock: Clock) -> None:
    """It is the only key's, where there is one alone."""
    tokens = tokens_of(issuer, clock)
    assert (await tokens.identify(issuer.token(None))).name == "oidc/eve"
    issuer.add_key("k2")
    status, _ = await refusal(tokens_of(issuer, clock), issuer.token(None))
    assert status == 401
