"""An issuer's JSON Web Tokens, verified.

RFC 8725 (JSON Web Tokens, best current practices): algorithms by a list of ours, issuer and audience checked, no key
that the token itself brings. PyJWT verifies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import jwt
from jwt import PyJWK

from broker.http.issuer_keys import IssuerKeys
from broker.http.refusal import Refusal

# Signatures by a pair of keys alone. With HS* the issuer's public key would do as the secret.
ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
LEEWAY_SECONDS: Final = 30
_WHY: Final[dict[type[Exception], str]] = {
    jwt.ExpiredSignatureError: "has expired",
    jwt.ImmatureSignatureError: "is not good yet",
    jwt.InvalidIssuedAtError: "is not good yet",
    jwt.InvalidAudienceError: "is for another audience",
    jwt.InvalidIssuerError: "is of another issuer",
    jwt.MissingRequiredClaimError: "lacks exp, iss, aud or sub",
    jwt.InvalidSignatureError: "has a wrong signature",
}


async def verified(token: str, issuer: str, audience: str, keys: IssuerKeys) -> Mapping[str, Any]:
    """What a token says, when issuer, audience, expiry and signature are right. Raises Refusal: 401, 503."""
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, RecursionError):  # the latter of JSON that is brackets alone
        raise _refused("is no JSON Web Token") from None
    algorithm, key_id = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS or not (key_id is None or isinstance(key_id, str)):
        raise _refused("is not signed as it should be")
    found = await keys.find(key_id)
    if found is None or found.get("alg", algorithm) != algorithm:
        raise _refused("is signed with a key that its issuer does not have")
    # What these errors say may hold parts of the token: it goes no further.
    try:
        said: Mapping[str, Any] = jwt.decode(
            token,
            PyJWK(dict(found), algorithm=algorithm),
            algorithms=[algorithm],
            audience=audience,
            issuer=issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
    except (jwt.PyJWTError, RecursionError) as error:
        raise _refused(_WHY.get(type(error), "is not good")) from None
    return said


def _refused(why: str) -> Refusal:
    return Refusal(401, "Unauthenticated", f"token: {why}")
