"""Answers as AWS's clients read them: x-amzn-RequestId on each, x-amzn-ErrorType on those that refuse."""

from __future__ import annotations

import json
import secrets
import uuid

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from broker.http.refusal import code_of
from schema.aws_errors import IOT, JOBS_DATA, AwsError, error_of
from schema.sigv4 import is_signed


def is_aws(scope: Scope) -> bool:
    """Whether a request is signed as AWS's are."""
    found = dict(scope["headers"]).get(b"authorization")
    authorization = None if found is None else found.decode("latin-1")
    return is_signed(authorization, scope["query_string"].decode("latin-1"))


def answered(body: object) -> Response:
    """What an operation answers."""
    return _response(body, 200)


def refused(error: AwsError) -> Response:
    """An error that botocore raises by its name."""
    response = _response({"message": error.message, **error.members}, error.status)
    response.headers["x-amzn-errortype"] = error.code
    if error.retry_after is not None:
        response.headers["retry-after"] = str(error.retry_after)
    return response


def refused_early(request: Request, error: HTTPException) -> Response:
    """A refusal of ours in AWS's words, for what is turned away before anybody looks who signed it."""
    signed_for = f"/{JOBS_DATA}/".encode()
    asked = b"".join(value for name, value in request.scope["headers"] if name == b"authorization")
    return refusal_of(JOBS_DATA if signed_for in asked else IOT, error)


def refusal_of(service: str, error: HTTPException) -> Response:
    """A refusal of ours as a service says it, with the headers it has."""
    response = refused(error_of(service, code_of(error), str(error.detail)))
    response.headers.update(error.headers or {})
    return response


def _response(body: object, status: int) -> Response:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    made = Response(text.encode(), status, media_type="application/json")
    made.headers["x-amzn-requestid"] = str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))
    return made
