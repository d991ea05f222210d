"""AWS Signature Version 4, as the side that verifies: what a request claims, what it must have signed, and when.

Sources: AWS "Create a signed AWS API request" and "Troubleshoot Signature Version 4 signing", whose messages these are;
held against botocore's own signer by property tests. Pure: the clock and the secret are arguments.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from schema.aws_errors import AwsError

ALGORITHM: Final = "AWS4-HMAC-SHA256"
SKEW: Final = timedelta(minutes=5)
LONGEST_PRESIGNED: Final = 604_800  # seconds; AWS: seven days
_TERMINATOR: Final = "aws4_request"
_TIME: Final = "%Y%m%dT%H%M%SZ"
_SIGNATURE: Final = re.compile(r"[0-9a-f]{64}")
_PRESIGNED: Final = re.compile(r"(?:^|&)X-Amz-(?:Signature|Algorithm)=")
_DIGEST_HEADER: Final = "x-amz-content-sha256"


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request as it came: path and query with their percent-escapes, names of headers in lower case."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """A header's value; None when it is not there, joined by commas when it is there more than once."""
        found = [value for have, value in self.headers if have == name]
        return ",".join(found) if found else None

    def pairs(self) -> list[tuple[str, str]]:
        """Names and values of the query, still escaped."""
        split = (one.partition("=") for one in self.query.split("&") if one)
        return [(name, value) for name, _, value in split]

    def parameters(self) -> dict[str, str]:
        """Names and values of the query as they are meant; of a name that is given twice the last."""
        return {_plain(name): _plain(value) for name, value in self.pairs()}


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says of its signature. `expires` in seconds, of a presigned one."""

    access_key: str
    day: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str
    time: str
    expires: int | None = None

    @property
    def scope(self) -> str:
        """For what the key was derived."""
        return f"{self.day}/{self.region}/{self.service}/{_TERMINATOR}"

    @property
    def at(self) -> datetime:
        """When it was signed."""
        return datetime.strptime(self.time, _TIME).replace(tzinfo=UTC)


def is_signed(authorization: str | None, query: str) -> bool:
    """Whether a request is one of AWS's dialect: by its Authorization header, or by its query."""
    if authorization is not None and authorization.startswith("AWS4-"):
        return True
    return _PRESIGNED.search(query) is not None


def read_claim(request: SignedRequest) -> Claim:
    """The claim in a request's Authorization header, or in its query.

    Raises AwsError: 403 MissingAuthenticationTokenException without any, 400 IncompleteSignatureException for one that
    lacks something or signs too little.
    """
    authorization = request.header("authorization")
    parameters = request.parameters()
    in_query = "X-Amz-Signature" in parameters or "X-Amz-Algorithm" in parameters
    if authorization is not None and in_query:
        raise _incomplete("Only one of the Authorization header and X-Amz-* in the query may sign.")
    if authorization is not None:
        claim = _from_header(request, authorization)
    elif in_query:
        claim = _from_query(parameters)
    else:
        raise AwsError("MissingAuthenticationTokenException", 403, "Missing Authentication Token")
    if request.header("x-amz-security-token") or parameters.get("X-Amz-Security-Token"):
        raise AwsError(
            "UnrecognizedClientException",
            403,
            "The security token included in the request is invalid: access keys of jobbroker have none;"
            " unset AWS_SESSION_TOKEN.",
        )
    _require_signed(request, claim)
    return claim


def check_time(claim: Claim, now: datetime) -> None:
    """Pass while the signature is good.

    Raises AwsError (403 InvalidSignatureException): more than five minutes old or ahead, a presigned one over.
    """
    at = claim.at
    good_for = SKEW if claim.expires is None else timedelta(seconds=claim.expires)
    if at > now + SKEW:
        raise _invalid(
            f"Signature not yet current: {claim.time} is still later than"
            f" {(now + SKEW).strftime(_TIME)} ({now.strftime(_TIME)} + 5 min.)"
        )
    if at + good_for < now:
        raise _invalid(
            f"Signature expired: {claim.time} is now earlier than"
            f" {(now - good_for).strftime(_TIME)} ({now.strftime(_TIME)} - {_words(good_for)})"
        )


def check_signature(request: SignedRequest, claim: Claim, secrets: Iterable[str]) -> None:
    """Pass when one of the secrets made the signature of exactly this request, body included.

    The comparison takes the same time wherever they differ. Raises AwsError (403 InvalidSignatureException).
    """
    digest = hashlib.sha256(request.body).hexdigest()
    said = request.header(_DIGEST_HEADER)
    if said is not None and not hmac.compare_digest(said.encode(), digest.encode()):
        raise _invalid(
            "The provided 'x-amz-content-sha256' header does not match what was computed."
        )
    text = string_to_sign(request, claim, digest)
    made = [signature(secret, claim, text) for secret in secrets]
    matches = [hmac.compare_digest(one.encode(), claim.signature.encode()) for one in made]
    if not any(matches):
        raise _invalid(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret"
            " Access Key and signing method. Consult the service documentation for details."
        )


def canonical_request(request: SignedRequest, claim: Claim, digest: str) -> str:
    """What is signed of a request; digest is the sha256 of its body in hex."""
    return "\n".join(
        [
            request.method,
            _canonical_path(request.path),
            _canonical_query(request),
            *(f"{name}:{_canonical_value(request, name)}" for name in claim.signed_headers),
            "",
            ";".join(claim.signed_headers),
            digest,
        ]
    )


def string_to_sign(request: SignedRequest, claim: Claim, digest: str) -> str:
    """The text that the key signs."""
    hashed = hashlib.sha256(canonical_request(request, claim, digest).encode()).hexdigest()
    return f"{ALGORITHM}\n{claim.time}\n{claim.scope}\n{hashed}"


def signature(secret: str, claim: Claim, text: str) -> str:
    """The signature of a text under a secret access key, in hex."""
    key = f"AWS4{secret}".encode()
    for part in (claim.day, claim.region, claim.service, _TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def _from_header(request: SignedRequest, authorization: str) -> Claim:
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != ALGORITHM:
        raise _incomplete(
            f"Unsupported AWS 'algorithm': '{algorithm[:40]}'; {ALGORITHM} is needed."
        )
    fields = dict(_pair(one) for one in rest.split(","))
    for name in ("Credential", "Signature", "SignedHeaders"):
        if not fields.get(name):
            raise _incomplete(f"Authorization header requires '{name}' parameter.")
    at = request.header("x-amz-date") or _of_date(request.header("date"))
    if at is None:
        raise _incomplete(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        )
    return _claim(fields["Credential"], fields["SignedHeaders"], fields["Signature"], at)


def _from_query(parameters: dict[str, str]) -> Claim:
    for name in ("Algorithm", "Credential", "Signature", "Date", "SignedHeaders", "Expires"):
        if not parameters.get(f"X-Amz-{name}"):
            raise _incomplete(f"AWS query-string parameters must include 'X-Amz-{name}'.")
    if parameters["X-Amz-Algorithm"] != ALGORITHM:
        raise _incomplete(f"Unsupported AWS 'algorithm'; {ALGORITHM} is needed.")
    seconds = parameters["X-Amz-Expires"]
    if not (
        seconds.isascii() and seconds.isdigit() and len(seconds) <= len(str(LONGEST_PRESIGNED))
    ):
        raise _incomplete("X-Amz-Expires should be a number of seconds.")
    if not 1 <= int(seconds) <= LONGEST_PRESIGNED:
        raise _incomplete(f"X-Amz-Expires must be between 1 and {LONGEST_PRESIGNED} seconds.")
    return _claim(
        parameters["X-Amz-Credential"],
        parameters["X-Amz-SignedHeaders"],
        parameters["X-Amz-Signature"],
        parameters["X-Amz-Date"],
        int(seconds),
    )


def _claim(
    credential: str, headers: str, signed: str, at: str, expires: int | None = None
) -> Claim:
    parts = credential.split("/")
    if len(parts) != 5 or parts[4] != _TERMINATOR or not all(parts):  # noqa: PLR2004 - AWS: a credential's parts
        raise _incomplete(
            "Credential must have exactly 5 slash-delimited elements, e.g."
            " keyid/date/region/service/aws4_request."
        )
    access_key, day, region, service = parts[:4]
    names = tuple(headers.split(";"))
    claim = Claim(access_key, day, region, service, names, signed, at, expires)
    try:
        signed_on = claim.at.strftime("%Y%m%d")
    except ValueError:
        raise _incomplete("Date must be in ISO-8601 'basic format': YYYYMMDDTHHMMSSZ.") from None
    if day != signed_on:
        raise _invalid(
            f"Date in Credential scope does not match YYYYMMDD from date: {day[:20]!r} vs {signed_on!r}."
        )
    if _SIGNATURE.fullmatch(signed) is None:
        raise _incomplete("Signature must be 64 digits of lower-case hex.")
    return claim


def _require_signed(request: SignedRequest, claim: Claim) -> None:
    """AWS: the host and every x-amz- header that is there belong to what is signed."""
    names = claim.signed_headers
    if "host" not in names:
        raise _incomplete("'Host' must be a 'SignedHeader' in the AWS Authorization.")
    for name, _ in request.headers:
        if name.startswith("x-amz-") and name not in names:
            raise _incomplete(f"'{name[:80]}' must be a 'SignedHeader' in the AWS Authorization.")


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.strip().partition("=")
    return name, value


def _of_date(text: str | None) -> str | None:
    """A Date header (RFC 9110, 5.6.7) as X-Amz-Date would have it."""
    if text is None:
        return None
    try:
        return parsedate_to_datetime(text).astimezone(UTC).strftime(_TIME)
    except (ValueError, OverflowError):
        return text  # which may be in AWS's own format; `_claim` says so when it is not


def _canonical_path(path: str) -> str:
    """Without `.`, `..` and empty segments, then escaped once more: every service but S3 has it so."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            kept[-1:] = []
        elif segment not in ("", "."):
            kept.append(segment)
    last = "/" if path.endswith("/") and kept else ""
    return quote("/" + "/".join(kept) + last, safe="/~")


def _canonical_query(request: SignedRequest) -> str:
    pairs = sorted(
        (_escaped(name), _escaped(value))
        for name, value in request.pairs()
        if _plain(name) != "X-Amz-Signature"
    )
    return "&".join(f"{name}={value}" for name, value in pairs)


def _canonical_value(request: SignedRequest, name: str) -> str:
    return ",".join(" ".join(value.split()) for have, value in request.headers if have == name)


def _escaped(text: str) -> str:
    """Escaped as AWS has it, however it came."""
    return quote(unquote_to_bytes(text), safe="-_.~")


def _plain(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "replace")


def _words(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    return f"{seconds} s." if seconds % 60 else f"{seconds // 60} min."


def _incomplete(message: str) -> AwsError:
    return AwsError("IncompleteSignatureException", 400, message)


def _invalid(message: str) -> AwsError:
    return AwsError("InvalidSignatureException", 403, message)
