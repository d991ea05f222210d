"""What all parts of /openapi.json share: contents, and what each refusal means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

Json = dict[str, Any]

REF: Final = "#/components/schemas/{model}"
ANSWERS: Final = {
    400: "The request is wrong: the message names the field, the value and the limit",
    401: "No Bearer token, or none that is known",
    403: "The operator's role does not cover this",
    404: "Nothing of this name in the operator's tenant",
    408: "The body did not arrive in time",
    409: "It exists, has changed, or has ended: see the code",
    413: "The body has more than 262144 bytes",
    422: "The body is not what is expected",
    429: "Too many requests: come again after Retry-After seconds",
    500: "Our fault; the broker's log says why",
    503: "The database cannot be reached: come again after Retry-After seconds",
}


def refusals(answers: Iterable[int], schema: str) -> Json:
    """The answers of these statuses, each with the schema of its error."""
    return {
        str(status): {
            "description": ANSWERS[status],
            "content": as_content({"$ref": REF.format(model=schema)}),
        }
        for status in answers
    }


def as_content(schema: Mapping[str, Any], example: object = None) -> Json:
    """A body of JSON."""
    content: Json = {"schema": schema}
    return {"application/json": content if example is None else {**content, "example": example}}
