"""Process slots on a real PostgreSQL: what their MQTT sessions are called."""

from __future__ import annotations

from broker.slots import Slot
from tests.conftest import Database


async def test_session_names_are_shared_and_cannot_be_guessed(database: Database) -> None:
    """Whoever may connect to the MQTT server must not know the client id that takes our session over."""
    async with (
        await Slot.take(database.url, alone=False) as one,
        await Slot.take(database.url, alone=False) as other,
    ):
        assert one.number != other.number
        assert one.client_id(other.number) == other.client_id(other.number)
        assert one.client_id(0) != one.client_id(1)
        secret = one.client_id(0).removeprefix("jobbroker-").removesuffix("-0")
        assert len(bytes.fromhex(secret)) == 16
