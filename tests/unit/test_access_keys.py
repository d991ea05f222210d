"""Access keys: found by their ids, made of what is stored and a key that is not."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.access_keys import AccessKeys, access_key_id, digests_between

ONE, OTHER = bytes(32), b"\x01" * 32


@given(st.binary(min_size=32, max_size=32))
def test_an_id_finds_its_token_and_no_other(digest: bytes) -> None:
    """It is letters and digits as AWS's are, and says between which digests the token's is."""
    key_id = access_key_id(digest)
    assert len(key_id) == 28
    assert key_id.isalnum()
    between = digests_between(key_id)
    assert between is not None
    assert between[0] <= digest <= between[1]
    assert not between[0] <= hashlib.sha256(digest).digest() <= between[1]


@given(st.text(max_size=40) | st.text("JBKA234567", min_size=28, max_size=28))
def test_what_is_no_id_is_nobodys(text: str) -> None:
    """Anything may come; what is taken is exactly what is made."""
    between = digests_between(text)
    if between is not None:
        assert access_key_id(between[0]) == text


def test_secrets_are_made_of_the_token_and_the_key() -> None:
    """The same again, another with another key or another token; with two keys the first is shown and both are good."""
    shown = AccessKeys([ONE]).of_token("t")
    assert shown == AccessKeys([ONE]).of_digest(hashlib.sha256(b"t").digest())
    assert len(shown["secretAccessKey"]) == 43
    secrets = {
        AccessKeys([key]).of_token(token)["secretAccessKey"]
        for key in (ONE, OTHER)
        for token in ("t", "u")
    }
    assert len(secrets) == 4
    digest = hashlib.sha256(b"t").digest()
    both = AccessKeys([OTHER, ONE])
    assert both.secrets_of(digest)[1] == shown["secretAccessKey"]
    assert both.of_token("t")["secretAccessKey"] == both.secrets_of(digest)[0]
    with pytest.raises(ValueError, match="a key is needed"):
        AccessKeys([])
