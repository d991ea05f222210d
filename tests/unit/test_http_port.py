"""Where `up` listens for HTTP."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from broker.embedded import http_port
from broker.embedded.http_port import choose_http_port
from tests.ports import reserved_ports


def test_the_usual_port_and_the_same_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """8000 when it is free, else another; after a restart the one of last time, unless somebody has it now."""
    usual, wanted = reserved_ports(2)
    monkeypatch.setattr(http_port, "USUAL", usual)
    assert choose_http_port(tmp_path / "", wanted) == wanted
    with socket.create_server(("127.0.0.1", usual)):
        other = choose_http_port(tmp_path, None)
        assert other not in (usual, 0)
    assert choose_http_port(tmp_path, None) == other
    with socket.create_server(("127.0.0.1", other)):
        assert choose_http_port(tmp_path, None) == usual
    assert choose_http_port(tmp_path, 0) == usual, "kept from the time before"


def test_any_free_port_when_that_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 stands for whatever is free, and a file with something else in it for none."""
    (usual,) = reserved_ports(1)
    monkeypatch.setattr(http_port, "USUAL", usual)
    (tmp_path / "http.port").write_text("eight thousand")
    assert choose_http_port(tmp_path, 0) != usual
