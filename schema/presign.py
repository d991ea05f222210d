"""URLs that let a device fetch or store one object for a while, without credentials of its own (AWS SigV4, presigned).

Sources: AWS "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)", with its worked example as a
test; escaping held against botocore. Works with every store that speaks S3. Pure: the clock is an argument.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, Protocol
from urllib.parse import quote, unquote, urlsplit

from pydantic import Field

from schema.configs import Config
from schema.errors import shorten

Method = Literal["GET", "PUT"]
EXPIRES_LEAST: Final = 60  # AWS IoT: presignedUrlConfig.expiresInSec
EXPIRES_MOST: Final = 3600
# S3's bucket names; a bucket's name becomes part of a host name.
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KEY_BYTES: Final = 1024
_ENDPOINT: Final = re.compile(r"(https?)://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?/?")
_DEFAULT_PORTS: Final = {"https": ":443", "http": ":80"}


class PresignedUrlConfig(Config):
    """AWS: PresignedUrlConfig. The store's own key signs (settings): roleArn is kept and shown, and not used."""

    role_arn: Annotated[str, Field(min_length=20, max_length=2048)] | None = None
    expires_in_sec: Annotated[int, Field(ge=EXPIRES_LEAST, le=EXPIRES_MOST)] | None = None

    @property
    def expires(self) -> int:
        """For how long a URL is good, in seconds (AWS: 3600 when nothing is said)."""
        return self.expires_in_sec or EXPIRES_MOST


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object in a store, or one version of it. The key is as the store knows it: nothing in it is escaped."""

    bucket: str
    key: str
    version_id: str | None = None


class Signer(Protocol):
    """What presigned URLs come from; another store than S3's kind has a signer of its own."""

    def find(self, url: str, *, encoded: bool) -> StoredObject:
        """The object a placeholder's URL names. Raises ValueError when the URL is none of this store's."""
        ...

    def presign(self, method: Method, target: StoredObject, now: datetime, *, expires: int) -> str:
        """A URL that does `method` on the object for `expires` seconds from now."""
        ...


@dataclass(frozen=True, slots=True)
class S3Store:
    """A signer for S3 and what speaks like it.

    endpoint is https://HOST[:PORT] without a bucket, e.g. https://s3.eu-west-1.amazonaws.com; path_style puts the
    bucket into the path (MinIO), otherwise before the host's name (AWS). With https a bucket with a dot always stands
    in the path: no certificate fits it as a host. Raises ValueError for an endpoint of another form.
    """

    endpoint: str
    region: str
    access_key: str
    secret_key: str = field(repr=False)
    path_style: bool = True
    session_token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if _ENDPOINT.fullmatch(self.endpoint) is None:
            msg = f"endpoint {shorten(self.endpoint)} is not http(s)://HOST or http(s)://HOST:PORT"
            raise ValueError(msg)

    @property
    def _scheme(self) -> str:
        return urlsplit(self.endpoint).scheme

    @property
    def _host(self) -> str:
        """The host as the Host header has it: without the scheme's own port."""
        return urlsplit(self.endpoint).netloc.removesuffix(_DEFAULT_PORTS[self._scheme])

    def find(self, url: str, *, encoded: bool) -> StoredObject:
        """The object a URL names, in path style or virtual-host style.

        encoded: the key is percent-encoded and may end in `%3FversionId%3D...` (AWS: s3-presigned-url-v2); otherwise it
        is taken as it stands (v1). Raises ValueError for another host than the endpoint's, or without bucket and key.
        """
        scheme, _, rest = url.partition("://")
        host, _, path = rest.partition("/")
        host = host.lower().removesuffix(_DEFAULT_PORTS.get(scheme, " "))
        if scheme != self._scheme or not host.endswith(self._host):
            msg = f"{shorten(url)} is not in the store {self.endpoint}"
            raise ValueError(msg)
        bucket = host.removesuffix(self._host).removesuffix(".")
        if not bucket:
            bucket, _, path = path.partition("/")
        elif host != f"{bucket}.{self._host}":
            msg = f"{shorten(url)} is not in the store {self.endpoint}"
            raise ValueError(msg)
        key, version = _key(path) if encoded else (path, None)
        return _checked(StoredObject(bucket, key, version), url)

    def presign(self, method: Method, target: StoredObject, now: datetime, *, expires: int) -> str:
        """The URL; now is aware, expires in seconds (S3 takes 1 to 604800, AWS IoT Jobs 60 to 3600)."""
        at = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{at[:8]}/{self.region}/s3/aws4_request"
        host, path = self._place(target)
        query = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self.access_key}/{scope}",
            "X-Amz-Date": at,
            "X-Amz-Expires": str(expires),
            "X-Amz-SignedHeaders": "host",
        }
        if self.session_token is not None:
            query["X-Amz-Security-Token"] = self.session_token
        if target.version_id is not None:
            query["versionId"] = target.version_id
        asked = "&".join(f"{name}={_escaped(query[name])}" for name in sorted(query))
        request = f"{method}\n{path}\n{asked}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(request.encode()).hexdigest()
        signature = self._sign(f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{digest}", at[:8])
        return f"{self._scheme}://{host}{path}?{asked}&X-Amz-Signature={signature}"

    def _place(self, target: StoredObject) -> tuple[str, str]:
        key = quote(target.key, safe="/~")
        if self.path_style or ("." in target.bucket and self._scheme == "https"):
            return self._host, f"/{target.bucket}/{key}"
        return f"{target.bucket}.{self._host}", f"/{key}"

    def _sign(self, text: str, day: str) -> str:
        key = f"AWS4{self.secret_key}".encode()
        for part in (day, self.region, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()


def _escaped(text: str) -> str:
    return quote(text, safe="~")


def _key(path: str) -> tuple[str, str | None]:
    """A percent-encoded key and its version, whether the ? before versionId is encoded (AWS) or not."""
    key, mark, version = unquote(path, errors="strict").partition("?versionId=")
    return key, version if mark else None


def _checked(found: StoredObject, url: str) -> StoredObject:
    if _BUCKET.fullmatch(found.bucket) is None:
        msg = f"{shorten(url)} has no bucket; {shorten(found.bucket)} is not the name of one"
        raise ValueError(msg)
    if not 1 <= len(found.key.encode()) <= _KEY_BYTES:
        msg = f"{shorten(url)} has a key of {len(found.key.encode())} bytes, 1 to {_KEY_BYTES} are allowed"
        raise ValueError(msg)
    if found.version_id == "":
        msg = f"{shorten(url)} has an empty versionId"
        raise ValueError(msg)
    return found
