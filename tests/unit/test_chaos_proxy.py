"""The proxy between each two: it forwards, and it cuts, refuses, delays and falls silent when told to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from broker.embedded.ports import LOOPBACK
from tests.chaos.proxy import Proxy
from tests.helpers import eventually
from tests.ports import reserved_ports


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """A proxy before a server that sends back what it is sent."""
    port, target = reserved_ports(2)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, LOOPBACK, target)
    made = Proxy("echo", port, target)
    await made.open()
    yield made
    await made.close()
    server.close()


async def _connect(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(LOOPBACK, proxy.port)


async def test_it_forwards_everything(proxy: Proxy) -> None:
    """Ten megabytes come back as they were, also when the reader is slow."""
    reader, writer = await _connect(proxy)
    sent = bytes(range(256)) * 40_960
    writer.write(sent)
    assert await reader.readexactly(len(sent)) == sent
    assert proxy.forwarded == 2 * len(sent)
    writer.close()


async def test_a_cut_ends_connections_and_refuses_new_ones(proxy: Proxy) -> None:
    """What is connected is cut off; nobody gets in until it is healed."""
    reader, writer = await _connect(proxy)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    await proxy.cut()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await _connect(proxy)
    await proxy.heal()
    reader, writer = await _connect(proxy)
    writer.write(b"again")
    assert await reader.readexactly(5) == b"again"
    writer.close()


async def test_silence_keeps_what_was_sent(proxy: Proxy) -> None:
    """Nothing comes and nothing is closed; when healed everything arrives, of new connections as well."""
    reader, writer = await _connect(proxy)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    proxy.stall()
    writer.write(b"later")
    late_reader, late_writer = await _connect(proxy)
    late_writer.write(b"first")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.2)
    await proxy.heal()
    assert await reader.readexactly(5) == b"later"
    assert await late_reader.readexactly(5) == b"first"
    writer.close()
    late_writer.close()


async def test_a_delay_keeps_the_order(proxy: Proxy) -> None:
    """Each way takes as long as it was told at least, and what was sent first arrives first."""
    reader, writer = await _connect(proxy)
    proxy.delay(0.05, 0.02)
    began = time.monotonic()
    for number in range(50):
        writer.write(b"%02d" % number)
        await asyncio.sleep(0)
    told = await reader.readexactly(100)
    assert time.monotonic() - began >= 0.1
    assert told == b"".join(b"%02d" % number for number in range(50))
    writer.close()


async def test_the_end_of_one_side_is_the_end_of_the_other(proxy: Proxy) -> None:
    """A client that hangs up leaves nothing behind."""
    _, writer = await _connect(proxy)
    await eventually(lambda: len(proxy.pairs) == 2)
    writer.close()
    await eventually(lambda: not proxy.pairs)
