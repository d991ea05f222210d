"""Ports of loopback for the servers that tests start: nobody else's, also before a server is up and while it is down.

A port that is free when it is asked for may be somebody else's when the server binds it: the system gives those of its
range for port 0 to whoever asks next, and another worker asks all the time. While the server is down a client that
dials it could even be given that very port for its own end, and be connected to itself. These are below that range, and
of each the UDP port with the same number is held, as the sign for other workers that it is taken.
"""

from __future__ import annotations

import random
import socket
from collections import deque
from contextlib import suppress
from typing import Final

from broker.embedded.ports import LOOPBACK, is_free

# Below what Linux (32768), macOS and Windows (49152) give out by themselves.
_PORTS: Final = range(20_000, 32_000)
_MOST_HELD: Final = (
    200  # files that a process may have open are counted; who had the first has ended
)

_held: deque[socket.socket] = deque()


def reserved_ports(count: int) -> list[int]:
    """So many different ports on which no test's server is, and none will be but the caller's.

    Raises RuntimeError when there are not so many.
    """
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        if len(found) == count:
            break
        if _is_mine(port):
            found.append(port)
    if len(found) < count:
        raise RuntimeError(f"no {count} free ports in {_PORTS}")
    return found


def reserved_port() -> int:
    """One such port."""
    return reserved_ports(1)[0]


def _is_mine(port: int) -> bool:
    sign = socket.socket(type=socket.SOCK_DGRAM)
    with suppress(OSError):
        sign.bind((LOOPBACK, port))
        if is_free(port):
            _hold(sign)
            return True
    sign.close()
    return False


def _hold(sign: socket.socket) -> None:
    _held.append(sign)
    if len(_held) > _MOST_HELD:
        _held.popleft().close()
