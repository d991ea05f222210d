"""A simulated fleet: devices set off together, watched, and ended together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from broker.mqtt.address import Address
from broker.mqtt.connection import ConnectSettings, connect
from broker.mqtt.handshake import ConnectRefusedError
from broker.simulator.device import Behaviour, Device
from broker.simulator.tally import Tally

CREDENTIAL_SECONDS: Final = 30.0
_PER_TURN: Final = 20
_POLL_SECONDS: Final = 0.1


@dataclass(slots=True)
class Fleet:
    """Devices that share a tally."""

    devices: list[Device]
    tally: Tally = field(default_factory=Tally)

    async def idle(self, seconds: float) -> None:
        """Return when nothing has been said to any device for so many seconds."""
        loop = asyncio.get_running_loop()
        self.tally.last_activity = loop.time()
        while (left := self.tally.last_activity + seconds - loop.time()) > 0:  # noqa: ASYNC110 - each message moves the end
            await asyncio.sleep(left)


@asynccontextmanager
async def running_fleet(
    address: Address, tokens: Mapping[str, str], behaviour: Behaviour
) -> AsyncIterator[Fleet]:
    """Run a device for each name with its token, and end all at the end.

    Raises TimeoutError when the MQTT server does not take the tokens within 30 s.
    """
    tally = Tally()
    devices = [
        Device(name=name, token=token, address=address, behaviour=behaviour, tally=tally)
        for name, token in tokens.items()
    ]
    if devices:
        await wait_for_credential(address, devices[-1].name, devices[-1].token)
    starting = asyncio.create_task(_start(devices))
    try:
        yield Fleet(devices, tally)
    finally:
        starting.cancel()
        await asyncio.gather(*(device.stop() for device in devices))


async def wait_for_credential(address: Address, name: str, token: str) -> None:
    """Return when the MQTT server lets `name` in: it reads new credentials some time after.

    Raises TimeoutError after 30 s, ConnectError when the server cannot be reached at all.
    """
    settings = ConnectSettings(client_id=name, username=name, password=token)
    try:
        async with asyncio.timeout(CREDENTIAL_SECONDS):
            while True:
                try:
                    connection, _ = await connect(
                        address, settings, on_packets=lambda _: None, on_lost=lambda _: None
                    )
                except ConnectRefusedError:
                    await asyncio.sleep(_POLL_SECONDS)
                else:
                    connection.close()
                    await connection.wait_closed()
                    return
    except TimeoutError:
        raise TimeoutError(
            f"MQTT server at {address} does not let {name} in after {CREDENTIAL_SECONDS:g} s:"
            " is a broker running that writes its password file?"
        ) from None


async def _start(devices: list[Device]) -> None:
    # Some at a time: a listening socket's queue is short, and everybody at once would overflow it.
    for number, device in enumerate(devices, 1):
        device.start()
        if number % _PER_TURN == 0:
            await asyncio.sleep(0.01)
