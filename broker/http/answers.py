"""Answers as JSON, and errors in the form of the door at which they happened."""

from __future__ import annotations

import json

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from broker.http.aws_answers import is_aws, refused_early
from broker.http.refusal import code_of, status_of
from handlers.operator_plane import Answer

SEEDS_PATHS = ("/customer/", "/device/v1/", "/functions/v1/")


def as_json(body: object, status: int = 200) -> Response:
    """A body as JSON in UTF-8."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Response(text.encode(), status, media_type="application/json")


def answered(answer: Answer, status: int = 200) -> Response:
    """A command's answer: its body, with the status that is meant for it, or that of its rejection."""
    if answer.accepted:
        return as_json(answer.body, status)
    code = str(answer.body["code"])
    response = as_json(answer.body, status_of(code))
    if response.status_code == 429:  # noqa: PLR2004 - as HTTP has it
        response.headers["retry-after"] = "1"
    return response


def refused(request: Request, error: HTTPException) -> Response:
    """An error: `detail` at the seeds' doors, code and message at ours, AWS's own at that of AWS."""
    if is_aws(request.scope):
        return refused_early(request, error)
    if request.url.path.startswith(SEEDS_PATHS):
        response = as_json({"detail": error.detail}, error.status_code)
    else:
        body = {"code": code_of(error), "message": error.detail}
        response = as_json(body, error.status_code)
    response.headers.update(error.headers or {})
    return response
