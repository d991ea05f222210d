"""Free TCP ports on loopback for the servers that are run as children."""

from __future__ import annotations

import contextlib
import socket

LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Return `count` different TCP ports that nothing listens on now.

    They are held together while the system chooses, so no two are equal. Another program may take
    one between this call and the server's own bind: whoever starts a server then tries new ones.
    """
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [int(each.getsockname()[1]) for each in sockets]


def free_port() -> int:
    """Return one TCP port on loopback that nothing listens on now."""
    return free_ports(1)[0]


def is_free(port: int) -> bool:
    """Tell whether a server could listen on a TCP port of loopback now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
