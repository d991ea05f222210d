"""AWS's own dialect: boto3 and the AWS CLI, unmodified. A signed request comes here, whatever its path is.

The table of operations is `schema.aws_operations`; what is done is done by the same handlers as everything else.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from typing import Any, Final

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.http.aws_answers import answered, is_aws, refusal_of, refused
from broker.http.aws_identity import AwsIdentity
from broker.http.doors import Doors
from broker.http.edge import address_of
from broker.http.refusal import Refusal
from handlers.operator_plane import Actor
from handlers.tokens import KeyHolder
from schema import aws_requests
from schema.aws_device import as_http
from schema.aws_endpoints import endpoint_address
from schema.aws_errors import IOT, JOBS_DATA, AwsError, error_of, not_offered
from schema.aws_operation import AwsOperation
from schema.aws_operations import find
from schema.errors import Code, Rejected
from schema.rights import Role
from schema.sigv4 import SignedRequest
from schema.topics import DeviceTopic, Operation

log = structlog.get_logger(__name__)

# Members that name what an operation is about: shown with ResourceAlreadyExistsException and ConflictException.
_RESOURCES: Final = ("jobId", "jobTemplateId", "thingGroupName", "thingName")


class AwsDoor:
    """Both planes of AWS on one port, told apart by what a signature is for; each may have a port of its own, too."""

    def __init__(
        self,
        doors: Doors,
        identity: AwsIdentity,
        *,
        ports: Mapping[int, str],
    ) -> None:
        """Take who does things and who verifies; ports are those that belong to one service, which may yet come."""
        self._doors = doors
        self._identity = identity
        self._ports = ports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        # A refusal for its size or its time is answered where it is noticed, at the edge.
        signed = _signed(request, await request.body())
        own = self._ports.get(port_of(request.scope))
        service = own or IOT
        try:
            holder, service = await self._identity.verify(signed, address_of(request.scope), own)
            request.scope["who"] = f"{holder.bearer.tenant_id}/{holder.bearer.name}"
            return answered(await self._done(request, signed, holder, service))
        except AwsError as error:
            return refused(error)
        except Rejected as refusal:
            return refused(error_of(service, refusal.code, refusal.message))
        except Refusal as refusal:
            return refusal_of(service, refusal)
        except Exception:
            log.exception("request_failed", operation=request.scope.get("operation"))
            message = "the request could not be handled; the broker's log says why"
            return refused(error_of(service, Code.INTERNAL_ERROR, message))

    async def _done(
        self, request: Request, signed: SignedRequest, holder: KeyHolder, service: str
    ) -> dict[str, Any]:
        found = find(service, signed.method, signed.path)
        if found is None:
            raise not_offered(service, signed.method, signed.path)
        operation, names = found
        request.scope["operation"] = f"{service}:{operation.name}"
        asked = aws_requests.read(operation, names, signed.parameters(), signed.body)
        if service == JOBS_DATA:
            return await self._device(operation, asked, holder)
        if holder.bearer.kind != "operator":
            raise error_of(
                service, Code.UNAUTHORIZED, "a thing may use iot-jobs-data, for itself, alone"
            )
        if not operation.verb:
            jobs_port = next((port for port, one in self._ports.items() if one == JOBS_DATA), None)
            host = request.headers.get("host", "")
            return endpoint_address(asked.get("endpointType"), host, jobs_port)
        return await self._command(operation, asked, holder)

    async def _command(
        self, operation: AwsOperation, asked: dict[str, Any], holder: KeyHolder
    ) -> dict[str, Any]:
        actor = Actor(holder.bearer.tenant_id, holder.bearer.name)
        body: dict[str, Any] = {}
        for verb, payload, job_id, thing in aws_requests.commands_of(operation, asked):
            text = json.dumps(payload, ensure_ascii=False).encode()
            answer = await self._doors.command(actor, verb, text, job_id=job_id, thing=thing)
            if not answer.accepted:
                code = str(answer.body["code"])
                if operation.gone_is_done and code == Code.RESOURCE_NOT_FOUND:
                    return {}
                raise _error(operation, code, str(answer.body["message"]), asked)
            body = answer.body
        return operation.answer(body, asked)

    async def _device(
        self, operation: AwsOperation, asked: dict[str, Any], holder: KeyHolder
    ) -> dict[str, Any]:
        thing, job_id, rest = aws_requests.device_names(asked)
        _require_may_be(thing, holder, operation.least_role)
        topic = DeviceTopic(holder.bearer.tenant_id, thing, Operation(operation.verb), job_id)
        payload = json.dumps(rest, ensure_ascii=False).encode()
        behalf = None if holder.role is None else (holder.bearer.name, str(holder.role))
        reply = await self._doors.ask(topic, payload, behalf=behalf)
        if not reply.accepted:
            code = reply.code or Code.INTERNAL_ERROR
            raise error_of(JOBS_DATA, code, str(json.loads(reply.payload)["message"]))
        return as_http(reply.payload)


class Dialects:
    """The application that hands what is signed, or comes to a port of AWS's, to AWS's door, and all else to ours."""

    def __init__(self, ours: ASGIApp, aws: ASGIApp, ports: Container[int]) -> None:
        self._ours = ours
        self._aws = aws
        self._ports = ports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        to_aws = is_aws(scope) or port_of(scope) in self._ports
        await (self._aws if to_aws else self._ours)(scope, receive, send)


def port_of(scope: Scope) -> int:
    """The port of ours that a request came to; 0 when it came to none."""
    server = scope.get("server")
    return int(server[1]) if server and server[1] is not None else 0


def _signed(request: Request, body: bytes) -> SignedRequest:
    scope = request.scope
    headers = tuple(
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
    )
    path = scope["raw_path"].decode("latin-1")
    return SignedRequest(
        scope["method"], path, scope["query_string"].decode("latin-1"), headers, body
    )


def _require_may_be(thing: str, holder: KeyHolder, least: Role | None) -> None:
    if holder.bearer.kind == "thing":
        if holder.bearer.name != thing:
            raise error_of(
                JOBS_DATA, Code.UNAUTHORIZED, f"thingName: your access key is not that of {thing!r}"
            )
    elif holder.role is None or least is None or not holder.role.covers(least):
        raise error_of(
            JOBS_DATA,
            Code.UNAUTHORIZED,
            f"in the place of a thing this needs the role {least}; yours is {holder.role}",
        )


def _error(operation: AwsOperation, code: str, message: str, asked: dict[str, Any]) -> AwsError:
    error = error_of(operation.service, code, message)
    if code in operation.errors:
        name, status = operation.errors[code]
        error = AwsError(name, status, message)
    elif operation.body.endswith("queryVersion") and message.startswith("queryString"):
        error = AwsError("InvalidQueryException", 400, message)
    if code == Code.RESOURCE_ALREADY_EXISTS:
        named = next((str(asked[one]) for one in _RESOURCES if one in asked), "")
        return AwsError(error.code, error.status, message, {"resourceId": named})
    return error
