"""An MQTT server that misbehaves on demand; what a real one does is tested with Mosquitto."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from broker.mqtt.address import Address
from broker.mqtt.codec import ConnAckPacket, ConnectPacket, Packet, SubscribePacket, read_packets

P = TypeVar("P")


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = b""
        self._packets: list[Packet] = []

    async def expect(self, kind: type[P]) -> P:
        """Return the client's next packet, which must be of this kind."""
        while not self._packets:
            data = await self._reader.read(65_536)
            if not data:
                raise ConnectionResetError("the client is gone")
            self._buffer += data
            self._packets, used, _ = read_packets(self._buffer, 1 << 28)
            self._buffer = self._buffer[used:]
        packet = self._packets.pop(0)
        assert isinstance(packet, kind), packet
        return packet

    async def accept(self, connack: ConnAckPacket | None = None) -> ConnectPacket:
        """Read CONNECT and answer it, with success unless told otherwise."""
        packet = await self.expect(ConnectPacket)
        self.send((connack or ConnAckPacket()).write())
        return packet

    async def subscribe(self, suback: Callable[[SubscribePacket], bytes]) -> SubscribePacket:
        """Read SUBSCRIBE and answer it."""
        packet = await self.expect(SubscribePacket)
        self.send(suback(packet))
        return packet

    def send(self, data: bytes) -> None:
        """Write bytes, well-formed or not."""
        self._writer.write(data)

    async def gone(self) -> bytes:
        """Wait until the client closed, and return what it still sent."""
        return self._buffer + await self._reader.read()


@asynccontextmanager
async def fake_server(script: Callable[[Peer], Awaitable[None]]) -> AsyncIterator[Address]:
    """Serve each connection by `script`, then close it; a failure in it fails the test."""
    failures: list[BaseException] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(Peer(reader, writer))
        except ConnectionError:
            pass  # a client that leaves is every script's end
        except AssertionError as error:
            failures.append(error)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()
    if failures:
        raise failures[0]
