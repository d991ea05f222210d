"""An OpenID issuer on loopback: signs with real keys, rotates them, goes away and comes back."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from broker.embedded.ports import LOOPBACK

AUDIENCE = "jobbroker"


@dataclass(slots=True)
class FakeIssuer:
    """Keys by id: what signs, and what is published of it. `discovery` takes the place of members of that document."""

    url: str = ""
    private: dict[str, Any] = field(default_factory=dict)
    public: dict[str, dict[str, Any]] = field(default_factory=dict)
    discovery: dict[str, Any] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    client_secret: str = "of-the-console"
    says: dict[str, object] = field(default_factory=dict)  # what is wrong with the next ID tokens
    server: asyncio.Server | None = None

    def add_key(self, key_id: str, *, algorithm: str = "RS256") -> None:
        """Publish a new key."""
        key: Any
        if algorithm.startswith("ES"):
            key = ec.generate_private_key(ec.SECP256R1())
            shown = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        else:
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            shown = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        self.private[key_id] = key
        self.public[key_id] = {**shown, "kid": key_id, "use": "sig", "alg": algorithm}

    def token(
        self, key_id: str | None, *, algorithm: str = "RS256", key: object = None, **claims: object
    ) -> str:
        """A token as it should be, but for these claims (None leaves one out) and this key."""
        said: dict[str, object] = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "eve",
            "exp": int(time.time()) + 300,
            "roles": ["manager"],
            **claims,
        }
        kept = {name: value for name, value in said.items() if value is not None}
        signing: Any = self.private[key_id or "k1"] if key is None else key
        headers = {} if key_id is None else {"kid": key_id}
        return jwt.encode(kept, signing, algorithm=algorithm, headers=headers)

    async def start(self, port: int = 0) -> None:
        """Listen."""
        self.server = await asyncio.start_server(self._serve, LOOPBACK, port)
        self.url = f"http://{LOOPBACK}:{self.server.sockets[0].getsockname()[1]}/realm"

    async def stop(self) -> None:
        """Be away."""
        if self.server is not None:
            self.server.close()
            await self.server.wait_closed()
            self.server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path, _, query = head.split(" ")[1].partition("?")
        self.asked[path] += 1
        if path == "/realm/authorize":
            await self._reply(writer, b"", f"303 -\r\nLocation: {self._authorize(query)}")
            return
        said: object = {"keys": list(self.public.values())}
        if path == "/realm/.well-known/openid-configuration":
            said = {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/keys",
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                **self.discovery,
            }
        if path == "/realm/token":
            length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
            said = self._exchange((await reader.readexactly(length)).decode(), head)
        status = "400 -" if isinstance(said, dict) and "error" in said else "200 -"
        await self._reply(writer, json.dumps(said).encode(), status)

    async def _reply(self, writer: asyncio.StreamWriter, body: bytes, status: str) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    def _authorize(self, query: str) -> str:
        """Somebody has signed in and agreed: where their browser goes, with a code."""
        asked = dict(parse_qsl(query))
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        back = {"code": code, "state": asked["state"], "iss": self.url}
        return f"{asked['redirect_uri']}?{urlencode(back)}"

    def _exchange(self, body: str, head: str) -> dict[str, object]:
        """A code is good once, for who began it and for nobody else (RFC 6749, 4.1.3; RFC 7636, 4.6)."""
        given = dict(parse_qsl(body))
        asked = self.codes.pop(given.get("code", ""), {})
        verifier = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).decode().rstrip("=")
        proof = base64.b64encode(f"{given.get('client_id')}:{self.client_secret}".encode()).decode()
        if (
            asked.get("code_challenge") != challenge
            or asked["redirect_uri"] != given["redirect_uri"]
            or f"authorization: basic {proof}".lower() not in head.lower()
        ):
            return {"error": "invalid_grant"}
        said: dict[str, Any] = {"aud": asked["client_id"], "nonce": asked["nonce"], **self.says}
        return {"token_type": "Bearer", "id_token": self.token("k1", **said)}


@asynccontextmanager
async def fake_issuer() -> AsyncIterator[FakeIssuer]:
    """One that listens, with the key k1."""
    issuer = FakeIssuer()
    issuer.add_key("k1")
    await issuer.start()
    try:
        yield issuer
    finally:
        await issuer.stop()
