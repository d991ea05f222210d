"""/api/v1: The Things Stack."""

from __future__ import annotations

from typing import Final

from schema.http_route import Route

STACK_ROUTES: Final = (
    Route("ttn/status", "GET", "/ttn/status", "Where provisioning at The Things Stack stands"),
    Route(
        "ttn/connections",
        "GET",
        "/ttn/connections",
        "Connections to The Things Stack, one for each organization",
        {"limit": 20},
    ),
    Route(
        "ttn/credentials/get",
        "POST",
        "/ttn/credentials/reveal",
        "The credentials for The Things Stack, opened; each reading is on record",
    ),
    Route(
        "ttn/credentials/set",
        "PUT",
        "/ttn/credentials",
        "Bring a key of The Things Stack in, and say where the server is",
        {"organization_name": "Acme", "ttn_organization_id": "acme-org"},
    ),
    Route(
        "ttn/provision",
        "POST",
        "/ttn/provision",
        "Make what is missing at The Things Stack, or go on with what is half-made",
        {"webhook_url": "http://127.0.0.1:8000/up", "gateway_key": True},
        202,
    ),
    Route(
        "ttn/start-fresh",
        "POST",
        "/ttn/start-fresh",
        "Forget the credentials that were made at The Things Stack",
    ),
    Route(
        "ttn/deep-clean",
        "POST",
        "/ttn/deep-clean",
        "Take all away at The Things Stack, as a run, to provision anew",
        {"dry_run": True},
        202,
    ),
    Route(
        "ttn/devices/register",
        "POST",
        "/ttn/devices",
        "Register devices in all four registries of The Things Stack",
        {
            "devices": [
                {
                    "device_id": "pump-1",
                    "dev_eui": "70B3D57ED0000001",
                    "join_eui": "0000000000000000",
                    "app_key": "000102030405060708090A0B0C0D0E0F",
                    "frequency_plan_id": "EU_863_870_TTN",
                }
            ]
        },
        202,
    ),
    Route(
        "ttn/devices/remove",
        "POST",
        "/ttn/devices/remove",
        "Take devices out of all four registries of The Things Stack",
        {"device_ids": ["pump-1"]},
        202,
    ),
    Route(
        "ttn/devices/list",
        "GET",
        "/ttn/devices",
        "Devices at The Things Stack that are on our record",
        {"limit": 20},
    ),
    Route(
        "ttn/devices/batch",
        "GET",
        "/ttn/devices/batches/{batch_id}",
        "How far a batch of devices is, line by line",
        {"limit": 20, "status": "ERROR"},
    ),
    Route(
        "ttn/deprovision",
        "POST",
        "/ttn/deprovision",
        "Take an organization, an application or a device out of The Things Stack",
        {"application_id": "acme-sensors", "dry_run": True},
        202,
    ),
    Route(
        "ttn/runs/list",
        "GET",
        "/ttn/runs",
        "Deprovisioning runs, newest first",
        {"status": "RUNNING,QUEUED", "limit": 50},
    ),
    Route("ttn/runs/get", "GET", "/ttn/runs/{jobId}", "A run and its steps", {"limit": 50}),
    Route("ttn/runs/cancel", "POST", "/ttn/runs/{jobId}/cancel", "End a run between two steps"),
    Route(
        "ttn/runs/resume",
        "POST",
        "/ttn/runs/{jobId}/resume",
        "Let a run that failed begin anew with what it knows",
    ),
)
