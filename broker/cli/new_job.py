"""The payload of jobs/create that the options of `jobbroker jobs create` come to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Final

import click

from broker.cli.callers import Body
from broker.cli.kinds import json_value, target_arn, template_arn

_SOURCES: Final = "--document, --document-json, --document-source, --template and --type"
_SOURCES_OF_FILE: Final = frozenset({"document", "documentSource", "jobTemplateArn"})
_OF_AWS: Final = "--description, --timeout-minutes, --parameter and --url-seconds"


def new_job(
    *,
    targets: Sequence[str],
    groups: Sequence[str],
    everything: bool,
    document: IO[bytes] | None,
    document_json: str | None,
    document_source: str | None,
    template: str | None,
    parameters: Sequence[tuple[str, str]],
    url_seconds: int | None,
    document_type: str | None,
    params: Sequence[tuple[str, str]],
    job_id: str | None,
    description: str | None,
    timeout_minutes: int | None,
    expires_in_hours: float | None,
    base: Body | None = None,
) -> Body:
    """The payload, in the dialect that the options speak. Raises a usage error.

    base: what a file says; the options stand above it, and need not say everything.
    """
    arns = [*targets, *(target_arn("thinggroup", group) for group in groups)]
    given = [document, document_json, document_source, template, document_type]
    sources = sum(one is not None for one in given)
    _refuse_if(sources > 1 or (base is None and not sources), f"one of {_SOURCES} is needed")
    _refuse_if(base is None and not arns and not everything, "--target, --group or --all is needed")
    if document_type is None:
        of_type = everything or params or expires_in_hours is not None
        _refuse_if(of_type, "--all, --param and --expires-in-hours go with --type")
        of_aws: Body = {
            "jobId": job_id,
            "targets": arns or None,
            "document": text_of(document, document_json),
            "documentSource": document_source,
            "jobTemplateArn": template and template_arn(template),
            "documentParameters": dict(parameters) or None,
            "description": description,
            **settings(timeout_minutes=timeout_minutes, url_seconds=url_seconds),
        }
        return _kept(base or {}, but_sources=bool(sources)) | said(of_aws)
    _refuse_if(base is not None, "--type does not go with --file")
    alien = description is not None or timeout_minutes is not None or parameters or url_seconds
    _refuse_if(alien, f"{_OF_AWS} do not go with --type")
    return said(
        {
            "job_id": job_id,
            "document_type": document_type,
            "document_params": {name: json_value(text) for name, text in params},
            "expires_in_hours": expires_in_hours,
            **_seed_target(arns, everything=everything),
        }
    )


def _kept(base: Body, *, but_sources: bool) -> Body:
    """What a file says, without its document where an option says another."""
    return {
        name: value
        for name, value in base.items()
        if not (but_sources and name in _SOURCES_OF_FILE)
    }


def _refuse_if(wrong: object, words: str) -> None:
    if wrong:
        raise click.UsageError(words)


def text_of(document: IO[bytes] | None, document_json: str | None) -> str | None:
    """The document from its file, or as it was written."""
    return document.read().decode(errors="replace") if document else document_json


def settings(*, timeout_minutes: int | None, url_seconds: int | None) -> Body:
    """The configurations that jobs and templates share."""
    return {
        "timeoutConfig": timeout_minutes and {"inProgressTimeoutInMinutes": timeout_minutes},
        "presignedUrlConfig": url_seconds and {"expiresInSec": url_seconds},
    }


def said(payload: Body) -> Body:
    """A payload without what was not said."""
    return {name: value for name, value in payload.items() if value is not None}


def _seed_target(arns: Sequence[str], *, everything: bool) -> Body:
    if everything:
        if arns:
            raise click.UsageError("--all takes no --target and no --group beside it")
        return {"target_all": True}
    if len(arns) != 1:
        raise click.UsageError("--type takes one target: a thing, a group or --all")
    kind, _, name = arns[0].rpartition(":")[2].partition("/")
    return {"target_device_id" if kind == "thing" else "target_group_id": name}
