"""The ports and the quiet that tests need of a machine with other things on it."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from broker.embedded.ports import LOOPBACK
from tests import ports
from tests.console import unwatched


def test_a_reserved_port_is_given_once_and_can_be_served_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever asks next, as another worker does, gets another one, whether anybody listens there or not."""
    monkeypatch.setattr(ports, "_PORTS", ports.reserved_ports(2))
    with pytest.raises(RuntimeError, match="no 1 free ports"):
        ports.reserved_port()
    for port in ports._PORTS:
        with socket.create_server((LOOPBACK, port)):
            pass


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the browser watches as ever")
def test_a_program_that_may_not_watch_the_network_may_use_it() -> None:
    """The kernel refuses it a netlink socket, and no other."""
    served = "import socket; socket.create_server(('127.0.0.1', 0)); print('served')"
    watched = "socket.socket(socket.AF_NETLINK)"
    place = Path(unwatched.__file__)
    ended = subprocess.run(
        [sys.executable, place, sys.executable, "-c", f"{served}; {watched}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Address family not supported" in ended.stderr
    assert ended.stdout == "served\n"
