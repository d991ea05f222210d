"""Presigned URLs: AWS's own worked example, botocore's escaping, and which URLs a store takes for its own."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, timezone

import pytest

from schema.presign import Method, S3Store, StoredObject

AWS = S3Store(
    "https://s3.amazonaws.com",
    "us-east-1",
    "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    path_style=False,
)
MINIO = S3Store("http://minio:9000", "us-east-1", "local", "secret")
AT = datetime(2013, 5, 24, tzinfo=UTC)


def test_the_worked_example_of_aws() -> None:
    """AWS "Authenticating Requests: Using Query Parameters": to the last digit of the signature."""
    url = AWS.presign("GET", StoredObject("examplebucket", "test.txt"), AT, expires=86400)
    assert url == (
        "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


def test_the_clock_is_read_in_utc() -> None:
    """The same instant in another time zone is the same URL."""
    target = StoredObject("examplebucket", "test.txt")
    elsewhere = AT.astimezone(timezone(timedelta(hours=5)))
    assert AWS.presign("GET", target, AT, expires=60) == AWS.presign(
        "GET", target, elsewhere, expires=60
    )


@pytest.mark.parametrize(
    ("store", "bucket", "wanted"),
    [
        (AWS, "fleet", "https://fleet.s3.amazonaws.com/a/b"),
        (AWS, "fleet.example.com", "https://s3.amazonaws.com/fleet.example.com/a/b"),
        (MINIO, "fleet", "http://minio:9000/fleet/a/b"),
        (S3Store("https://s3.local:443/", "r", "a", "s"), "fleet", "https://s3.local/fleet/a/b"),
    ],
)
def test_where_the_bucket_stands(store: S3Store, bucket: str, wanted: str) -> None:
    """Before the host at AWS, in the path for MinIO and for what no certificate fits; no needless port."""
    url = store.presign("GET", StoredObject(bucket, "a/b"), AT, expires=60)
    assert url.partition("?")[0] == wanted


@pytest.mark.parametrize(
    ("store", "url", "encoded", "wanted"),
    [
        (AWS, "https://s3.amazonaws.com/fleet/a/b.bin", True, ("fleet", "a/b.bin", None)),
        (AWS, "https://fleet.s3.amazonaws.com/a%20b", True, ("fleet", "a b", None)),
        (AWS, "https://fleet.s3.amazonaws.com/a%20b", False, ("fleet", "a%20b", None)),
        (AWS, "https://s3.amazonaws.com/fleet/k%3FversionId%3Dv1", True, ("fleet", "k", "v1")),
        (AWS, "https://s3.amazonaws.com/fleet/k?versionId=v1", True, ("fleet", "k", "v1")),
        (AWS, "https://S3.amazonaws.com:443/fleet/k", True, ("fleet", "k", None)),
        (MINIO, "http://minio:9000/fleet/a//b/../c", True, ("fleet", "a//b/../c", None)),
    ],
)
def test_a_url_of_the_store(
    store: S3Store, url: str, encoded: bool, wanted: tuple[str, str, str | None]
) -> None:
    """Both styles; v2 is percent-encoded with a version, v1 is as it stands (AWS "Managing jobs")."""
    assert store.find(url, encoded=encoded) == StoredObject(*wanted)


@pytest.mark.parametrize(
    "url",
    [
        "https://s3.amazonaws.com.evil.com/fleet/k",
        "https://evils3.amazonaws.com/fleet/k",
        "http://s3.amazonaws.com/fleet/k",
        "https://user@s3.amazonaws.com/fleet/k",
        "https://s3.amazonaws.com/fleet",
        "https://s3.amazonaws.com/fleet/",
        "https://s3.amazonaws.com//k",
        "https://s3.amazonaws.com/Fleet/k",
        "https://s3.amazonaws.com/fleet/%ff",
        "https://s3.amazonaws.com/fleet/k%3FversionId%3D",
        "https://s3.amazonaws.com/fleet/" + "k" * 1025,
        "fleet/k",
        "",
    ],
)
def test_a_url_of_another(url: str) -> None:
    """Another host, scheme or form is refused: nothing is signed for it."""
    with pytest.raises(ValueError, match=r".+"):
        AWS.find(url, encoded=True)


@pytest.mark.parametrize(
    "endpoint", ["s3.amazonaws.com", "ftp://s3", "https://", "https://s3/bucket", "https://u@s3"]
)
def test_an_endpoint_of_another_form(endpoint: str) -> None:
    """An endpoint is a scheme, a host and perhaps a port."""
    with pytest.raises(ValueError, match="is not http"):
        S3Store(endpoint, "us-east-1", "a", "s")


def test_secrets_are_not_shown() -> None:
    """A log line with a store in it has no key."""
    shown = repr(S3Store("https://s3.local", "r", "access", "very-secret", session_token="told"))
    assert "very-secret" not in shown
    assert "told" not in shown


ENDPOINT = "https://s3.eu-west-1.amazonaws.com"
# Digests of the URLs with their parameters in order, which differs and means nothing.
BOTOCORE: list[tuple[bool, Method, tuple[str, str, str | None], str]] = [
    (True, "GET", ("fleet", "fw/app 1.bin", None), "7b4384bec187d11d900c633c"),
    (True, "GET", ("fleet", "a//b/../c~d.\xe9\u4e16\U0001f600", None), "147b2766cf3b6bb8cc6363df"),
    (True, "GET", ("fleet", "k+&=?:#'\"()*!$@;,%25", "a+b/c="), "645c08379ac90be46a4fac0d"),
    (True, "GET", ("fleet.dots", "[x]{y}|\\^`<>", "v1"), "2aa8f0429d8f9535ed0d24db"),
    (True, "PUT", ("fleet", "logs/T:1_j-1", None), "71953cc10189d8104f5dae9b"),
    (False, "GET", ("fleet", "fw/app 1.bin", None), "39fd893a9936dafcc1b886ac"),
    (False, "GET", ("fleet", "a//b/../c~d.\xe9\u4e16\U0001f600", None), "788295e7a326ff25e42bad1a"),
    (False, "GET", ("fleet", "k+&=?:#'\"()*!$@;,%25", "a+b/c="), "21ac44e9d609f3d01aa718e3"),
    (False, "GET", ("fleet.dots", "[x]{y}|\\^`<>", "v1"), "2aa8f0429d8f9535ed0d24db"),
    (False, "PUT", ("fleet", "logs/T:1_j-1", None), "a26a5613c78c3e5a2b474131"),
]


@pytest.mark.parametrize(("style", "method", "target", "wanted"), BOTOCORE)
def test_the_same_urls_as_botocore(
    style: bool, method: Method, target: tuple[str, str, str | None], wanted: str
) -> None:
    """Keys, versions and tokens that need escaping, as botocore 1.44.5's S3 client presigns them."""
    store = S3Store(ENDPOINT, "eu-west-1", "AK", "se/cret+", style, "tok/en+=")
    made = store.presign(method, StoredObject(*target), AT, expires=777)
    path, _, query = made.partition("?")
    digest = hashlib.sha256(f"{path}?{'&'.join(sorted(query.split('&')))}".encode())
    assert digest.hexdigest()[:24] == wanted, made
