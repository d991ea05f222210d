"""Signatures: whatever botocore signs is taken, whatever is altered afterwards is not, and time runs out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from schema.aws_errors import AwsError
from schema.sigv4 import SignedRequest, check_signature, check_time, is_signed, read_claim

make_request: Callable[..., Any] = AWSRequest
SECRET = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"
KEYS = ReadOnlyCredentials("JBKA2345672345672345672345", SECRET, None)
NAMES = st.text("abcXYZ019:_-$ ~%/é", min_size=1, max_size=12)
# No control characters: they cannot be in headers, and urllib takes some out of URLs.
WORDS = st.text(st.characters(exclude_categories=["C"]), max_size=12)


def signed(
    method: str = "GET",
    path: str = "/jobs",
    query: dict[str, str] | None = None,
    *,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    auth: Callable[..., Any] = SigV4Auth,
    service: str = "iot",
    **options: object,
) -> SignedRequest:
    """A request as it arrives that botocore has signed."""
    url = f"http://127.0.0.1:8000{path}"
    if query:
        url += "?" + urlencode(query, quote_via=quote, safe="-_.~")
    request = make_request(method, url, {"Host": "127.0.0.1:8000", **(headers or {})}, body)
    auth(KEYS, service, "us-east-1", **options).add_auth(request)
    split = urlsplit(request.url)
    came = tuple((name.lower(), value) for name, value in request.headers.items())
    return SignedRequest(method, split.path, split.query, came, body)


def verify(request: SignedRequest, now: datetime | None = None, secret: str = SECRET) -> None:
    """What a server does with it."""
    claim = read_claim(request)
    check_time(claim, now or datetime.now(UTC))
    check_signature(request, claim, [secret])


def refusal(
    request: SignedRequest, *, now: datetime | None = None, secret: str = SECRET
) -> tuple[str, int]:
    """The code and the status with which a request is refused."""
    with pytest.raises(AwsError) as refused:
        verify(request, now, secret)
    return refused.value.code, refused.value.status


WRONG = ("InvalidSignatureException", 403)
PARTIAL = ("IncompleteSignatureException", 400)


@given(
    st.sampled_from(["GET", "PUT", "POST", "PATCH", "DELETE"]),
    st.lists(NAMES, min_size=1, max_size=4),
    st.dictionaries(NAMES, WORDS, max_size=3),
    st.binary(max_size=20),
)
def test_what_botocore_signs_is_taken(
    method: str, segments: list[str], query: dict[str, str], body: bytes
) -> None:
    """Any path, query and body, signed in the header or presigned."""
    path = "/" + "/".join(quote(one, safe="-_.~$:") for one in segments)
    verify(signed(method, path, query, body=body))
    verify(signed(method, path, query, auth=SigV4QueryAuth, expires=60))


@given(WORDS.map(str.strip).filter(str.isascii))
def test_headers_are_signed_as_they_are_meant(value: str) -> None:
    """Spaces in values count once, whoever sent how many."""
    request = signed(headers={"X-Amz-Meta": f" {value}  {value} "})
    verify(request)
    sent = tuple(
        (name, f"{value} {value}".strip() if name == "x-amz-meta" else have)
        for name, have in request.headers
    )
    verify(replace(request, headers=sent))


@given(st.data())
def test_whatever_is_altered_is_refused(data: st.DataObject) -> None:
    """Another method, path, query, body, host or date: one flipped thing is enough."""
    request = signed("PUT", "/jobs/fw-7", {"force": "true"}, body=b'{"a":1}')
    others: dict[str, Any] = {
        "method": data.draw(st.sampled_from(["GET", "POST", "DELETE"])),
        "path": data.draw(st.sampled_from(["/jobs/fw-8", "/jobs/fw-7/cancel", "/jobs/fw%2D7x"])),
        "query": data.draw(st.sampled_from(["", "force=false", "force=true&force=true"])),
        "body": data.draw(st.binary(max_size=8)),
    }
    name = data.draw(st.sampled_from(sorted(others)))
    assert refusal(replace(request, **{name: others[name]})) == WRONG
    moved = tuple(
        (have, "other:80" if have == "host" else value) for have, value in request.headers
    )
    assert refusal(replace(request, headers=moved)) == WRONG


def test_another_secret_is_refused() -> None:
    """The signature of somebody who has the id and not the secret."""
    assert refusal(signed(), secret=SECRET[::-1]) == WRONG


def test_five_minutes_of_skew_and_no_more() -> None:
    """A clock may be five minutes off, and a request can be sent again that long."""
    request = signed()
    at = read_claim(request).at
    for minutes in (-5, 5):
        verify(request, at + timedelta(minutes=minutes))
    for seconds in (-301, 301):
        assert refusal(request, now=at + timedelta(seconds=seconds)) == WRONG


def test_a_presigned_request_is_good_as_long_as_it_says() -> None:
    """Until X-Amz-Expires; not before it was made; and for seven days at most."""
    request = signed(auth=SigV4QueryAuth, expires=3600)
    at = read_claim(request).at
    verify(request, at + timedelta(seconds=3600))
    assert refusal(request, now=at + timedelta(seconds=3601)) == WRONG
    assert refusal(request, now=at - timedelta(minutes=6)) == WRONG
    assert refusal(signed(auth=SigV4QueryAuth, expires=604_801)) == PARTIAL
    for wrong in ("", "-1", "1e3", "9" * 30):
        query = request.query.replace("X-Amz-Expires=3600", f"X-Amz-Expires={wrong}")
        assert refusal(replace(request, query=query)) == PARTIAL


def test_a_body_that_is_not_what_its_digest_says() -> None:
    """x-amz-content-sha256 is held against the body, and may not leave it unsigned."""
    request = signed("PUT", "/jobs/a", body=b"{}", headers={"X-Amz-Content-SHA256": "0" * 64})
    assert refusal(request) == WRONG
    request = signed("PUT", "/jobs/a", headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    assert refusal(request) == WRONG


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Signature=", "Signatur="),
        ("SignedHeaders=host;", "SignedHeaders="),
        ("/aws4_request", ""),
        ("/iot/", "//"),
        ("SignedHeaders=host;x-amz-date", "SignedHeaders=host"),
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
        ("Signature=", "Signature=G"),
        (", ", " "),
    ],
)
def test_a_claim_that_lacks_something(old: str, new: str) -> None:
    """What cannot be verified is refused before any key is looked for."""
    request = signed()
    authorization = request.header("authorization") or ""
    assert old in authorization
    headers = tuple(
        (name, value.replace(old, new) if name == "authorization" else value)
        for name, value in request.headers
    )
    assert refusal(replace(request, headers=headers)) == PARTIAL


def test_dates_that_are_none_or_do_not_fit() -> None:
    """A date in another form, none at all, and one that is not the scope's."""
    request = signed()

    def dated(date: str | None) -> SignedRequest:
        kept = [(name, value) for name, value in request.headers if name != "x-amz-date"]
        return replace(request, headers=(*kept, *(() if date is None else (("x-amz-date", date),))))

    assert refusal(dated("yesterday")) == PARTIAL
    assert refusal(dated(None)) == PARTIAL
    assert refusal(dated("20200101T000000Z")) == WRONG


def test_session_tokens_are_nobodys() -> None:
    """What a shell still has of another account is named."""
    request = signed(headers={"X-Amz-Security-Token": "left over"})
    assert refusal(request) == ("UnrecognizedClientException", 403)


def test_which_requests_are_of_this_dialect() -> None:
    """By the header or by the query; a Bearer token is none."""
    assert is_signed(signed().header("authorization"), "")
    assert is_signed(None, signed(auth=SigV4QueryAuth, expires=60).query)
    assert not is_signed("Bearer abc", "a=1")
    assert not is_signed(None, "search=X-Amz-Signature=1&b=-X-Amz-Algorithm=")
    assert not is_signed(None, "")
    unsigned = SignedRequest("GET", "/jobs", "", (("host", "x"),))
    assert refusal(unsigned) == ("MissingAuthenticationTokenException", 403)
    both = signed(auth=SigV4QueryAuth, expires=60)
    doubled = replace(both, headers=(*both.headers, ("authorization", "AWS4-HMAC-SHA256 x")))
    assert refusal(doubled) == PARTIAL


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_claim_however_odd_is_a_fault(authorization: str, query: str) -> None:
    """Anything is refused with one of AWS's errors."""
    headers = (("authorization", f"AWS4-HMAC-SHA256 {authorization}"), ("host", "h"))
    with pytest.raises(AwsError):
        verify(SignedRequest("GET", "/", "", headers))
    with pytest.raises(AwsError):
        verify(SignedRequest("GET", "/", f"X-Amz-Algorithm={query}", (("host", "h"),)))
