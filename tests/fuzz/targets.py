"""Every target, and its share of the inputs."""

from __future__ import annotations

from typing import Final

from tests.fuzz import (
    addresses,
    commands,
    database,
    packets,
    replies,
    requests,
    rooms,
    tokens,
    topics,
)
from tests.fuzz.engine import Target, plainly

# In percent of all inputs; each packet that is not UTF-8 costs 10 ms, which is the codec unwinding a panic.
SHARES: Final = {
    "topics": 17,
    "rooms": 2,
    "requests": 26,
    "commands": 22,
    "replies": 4,
    "tokens": 7,
    "packets": 3,
    "addresses": 5,
    "device-plane": 10,
    "operator-plane": 4,
}
DATABASE: Final = ("device-plane", "operator-plane")


def pure() -> list[Target]:
    """Targets that need no server."""
    return [
        Target(
            "topics",
            "topics an MQTT server can deliver",
            "topics.check",
            topics.examples(),
            plainly(topics.check),
        ),
        Target(
            "rooms",
            "where operators ask to be answered",
            "rooms.check",
            rooms.examples(),
            rooms.opened,
        ),
        Target(
            "requests",
            "devices' payloads",
            "requests.check",
            requests.examples(),
            plainly(requests.check),
        ),
        Target(
            "commands",
            "operators' payloads",
            "commands.check",
            commands.examples(),
            plainly(commands.check),
        ),
        Target(
            "replies",
            "what is answered and told",
            "replies.check",
            replies.examples(),
            plainly(replies.check),
        ),
        Target(
            "tokens",
            "page tokens and ARNs",
            "tokens.check",
            tokens.examples(),
            plainly(tokens.check),
            3,
        ),
        Target(
            "packets",
            "what an MQTT server sends",
            "packets.check",
            packets.examples(),
            packets.opened,
        ),
        Target(
            "addresses",
            "settings and URLs",
            "addresses.check",
            addresses.examples(),
            plainly(addresses.check),
        ),
    ]


def on_database(device_url: str, operator_url: str) -> list[Target]:
    """The two planes, each over a migrated database of its own."""
    return [
        Target(
            "device-plane",
            "batches of requests on PostgreSQL",
            "await Planes(pool).answer",
            database.device_examples(),
            database.opened(device_url, "answer"),
            5,
        ),
        Target(
            "operator-plane",
            "runs of commands on PostgreSQL",
            "await Planes(pool).command",
            database.operator_examples(),
            database.opened(operator_url, "command"),
            3,
        ),
    ]
