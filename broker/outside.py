"""What of the world beyond the database commands and documents may use, as the settings allow it."""

from __future__ import annotations

from broker.document_hosts import AllowedHosts
from broker.document_source import DocumentSource
from broker.local_settings import LocalSettings
from broker.secret_keys import parse_keys
from handlers.context import Outside
from schema.access_keys import AccessKeys
from schema.presign import S3Store
from schema.secrets import NoSealer, Sealer
from schema.things_stack_hosts import StackHosts


def store_of(settings: LocalSettings) -> S3Store | None:
    """The store whose URLs are signed; None when none is set up."""
    if settings.s3_endpoint is None or settings.s3_secret_key is None:
        return None
    return S3Store(
        settings.s3_endpoint,
        settings.s3_region,
        settings.s3_access_key or "",
        settings.s3_secret_key.get_secret_value(),
        path_style=settings.s3_path_style,
    )


def sealer_for(settings: LocalSettings) -> Sealer:
    """What seals stored secrets; one that refuses when no key is set."""
    if settings.secret_key is None:
        return NoSealer()
    from broker.sealing import KeyRing  # noqa: PLC0415 - cryptography, for those who have a key

    return KeyRing.parse(settings.secret_key.get_secret_value())


def access_keys_of(settings: LocalSettings) -> AccessKeys | None:
    """What makes access keys of tokens; None when no key is set."""
    if settings.secret_key is None:
        return None
    return AccessKeys(parse_keys(settings.secret_key.get_secret_value()))


def outside_of(settings: LocalSettings) -> Outside:
    """The store, the reader of documents, what seals and makes keys, The Things Stack's hosts, the usual rate."""
    hosts = AllowedHosts.parse(settings.document_hosts or "")
    return Outside(
        store_of(settings),
        DocumentSource(hosts).read,
        sealer_for(settings),
        access_keys_of(settings),
        StackHosts.parse(settings.things_stack_hosts),
        settings.rollout_per_minute,
    )
