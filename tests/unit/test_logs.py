"""Logs: one line an event, and no secret in any."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from broker.logs import HIDDEN, LineQuota, hide_secrets, set_up_logs


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """What is set up here writes to this test's stderr, which is closed when the next test logs."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_fields_named_like_secrets_are_hidden() -> None:
    """Passwords, tokens and URLs by name; clientToken, which is none, stays."""
    event = {"password": "a", "admin_token": "b", "database_url": "c", "client_token": "d", "n": 1}
    hidden = hide_secrets(None, "info", event)
    assert hidden == {
        "password": HIDDEN,
        "admin_token": HIDDEN,
        "database_url": HIDDEN,
        "client_token": "d",
        "n": 1,
    }


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_url_in_a_sentence_loses_its_password(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also in what other libraries log."""
    set_up_logs(log_format)
    structlog.get_logger().warning("cannot reach postgresql://ann:hunter2@db/jobs")
    logging.getLogger("somebody").warning("nor mqtt://ann:hunter2@host:1883")
    seen = capsys.readouterr().err
    assert "hunter2" not in seen
    assert "ann" in seen


def test_json_lines_have_level_time_and_event(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line is one JSON object that says when and how bad."""
    set_up_logs("json", "info")
    structlog.get_logger().info("served", thing="pump-1")
    structlog.get_logger().debug("unseen")
    (line,) = capsys.readouterr().err.splitlines()
    seen = json.loads(line)
    assert (seen["event"], seen["level"], seen["thing"]) == ("served", "info", "pump-1")
    assert seen["timestamp"].endswith("Z")


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_traceback_shows_no_local_variables(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a function had in hand when it failed may be a secret."""
    set_up_logs(log_format)

    def fails(password: str) -> float:
        return 1 / len(password[:0])

    try:
        fails("hunter" + "2")
    except ZeroDivisionError:
        structlog.get_logger().exception("failed")
    seen = capsys.readouterr().err
    assert "ZeroDivisionError" in seen
    assert "hunter2" not in seen


def test_a_flood_of_lines_is_cut_and_counted() -> None:
    """So many lines a second are written; the first one after says how many were left out."""
    now = 10.0
    quota = LineQuota(2, clock=lambda: now)
    first = [quota.allow() for _ in range(5)]
    now = 11.0

    assert first == [0, 0, None, None, None]
    assert [quota.allow(), quota.allow()] == [3, 0]
