"""An OpenID issuer on loopback: signs with real keys, rotates them, goes away and comes back."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

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
        path = head.split(" ")[1]
        self.asked[path] += 1
        said: object = {"keys": list(self.public.values())}
        if path == "/realm/.well-known/openid-configuration":
            said = {"issuer": self.url, "jwks_uri": f"{self.url}/keys", **self.discovery}
        body = json.dumps(said).encode()
        writer.write(
            f"HTTP/1.1 200 -\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        )
        writer.write(body)
        await writer.drain()
        writer.close()


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
