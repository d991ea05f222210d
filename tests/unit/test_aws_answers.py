"""What is turned away at the edge is said in AWS's words to AWS's clients."""

from __future__ import annotations

import json

import pytest
from starlette.requests import Request

from broker.http.answers import refused
from broker.http.refusal import Refusal


def request(authorization: str, query: bytes = b"") -> Request:
    """A request as the edge sees it."""
    headers = [(b"authorization", authorization.encode())] if authorization else []
    scope = {"type": "http", "path": "/jobs", "headers": headers, "query_string": query}
    return Request(scope)


@pytest.mark.parametrize(
    ("service", "status", "code", "expected"),
    [
        ("iot", 429, "RequestThrottled", ("ThrottlingException", 400)),
        ("iot-jobs-data", 429, "RequestThrottled", ("ThrottlingException", 429)),
        ("iot", 413, "PayloadTooLarge", ("InvalidRequestException", 400)),
        ("iot", 503, "ServiceUnavailable", ("ServiceUnavailableException", 503)),
    ],
)
def test_refusals_at_the_edge(
    service: str, status: int, code: str, expected: tuple[str, int]
) -> None:
    """With the exception of the service that was meant, a request's id, and when to come again."""
    signed = request(f"AWS4-HMAC-SHA256 Credential=K/20260101/r/{service}/aws4_request")
    answer = refused(signed, Refusal(status, code, "no", 7))
    assert (answer.headers["x-amzn-errortype"], answer.status_code) == expected
    assert json.loads(bytes(answer.body)) == {"message": "no"}
    assert answer.headers["x-amzn-requestid"]
    assert answer.headers["retry-after"] == "7"


def test_others_hear_it_in_ours() -> None:
    """A Bearer token, or none, is no client of AWS's."""
    for authorization in ("", "Bearer x"):
        answer = refused(request(authorization), Refusal(413, "PayloadTooLarge", "no"))
        assert json.loads(bytes(answer.body)) == {"code": "PayloadTooLarge", "message": "no"}
    presigned = refused(request("", b"X-Amz-Signature=0"), Refusal(413, "PayloadTooLarge", "no"))
    assert presigned.headers["x-amzn-errortype"] == "InvalidRequestException"
