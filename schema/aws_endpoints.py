"""DescribeEndpoint: where a client is to go on, as the host that it has come to (AWS: host alone, without a scheme)."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from schema.errors import Code, Rejected, shorten

# AWS: the MQTT endpoints, whose ports clients know, and that of the jobs' data plane.
_MQTT: Final = ("iot:Data-ATS", "iot:Data")
_JOBS: Final = "iot:Jobs"


def endpoint_address(kind: str | None, host: str, jobs_port: int | None) -> dict[str, str]:
    """The answer for an endpointType (AWS: iot:Data when none is named), by the Host header of the request.

    jobs_port is the data plane's own, if it has one. Raises Rejected (InvalidRequest) for what is not offered.
    """
    kind = kind or "iot:Data"
    try:
        split = urlsplit(f"//{host}")
        name, port = split.hostname or "", split.port
    except ValueError:
        raise Rejected(Code.INVALID_REQUEST, f"Host: {shorten(host)} is no host") from None
    name = f"[{name}]" if ":" in name else name
    if kind in _MQTT:
        return {"endpointAddress": name}
    if kind == _JOBS:
        port = jobs_port or port
        return {"endpointAddress": name if port is None else f"{name}:{port}"}
    raise Rejected(
        Code.INVALID_REQUEST,
        f"endpointType: {shorten(kind)} is not offered; {', '.join((*_MQTT, _JOBS))} are",
    )
