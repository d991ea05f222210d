"""docker-compose.yml fits the program: its settings, its commands, and where its services look for each other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.cli import COMMANDS
from broker.settings import describe

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if service.get("image") == "jobbroker")
DEFAULTS = {name: default for name, default, _ in describe()}


def inside(service: str) -> set[str]:
    """The ports of a service that are published, as they are inside."""
    return {str(one).rpartition(":")[2] for one in SERVICES[service].get("ports", [])}


def test_the_broker_its_migration_and_the_console_are_of_one_image() -> None:
    """Whose Dockerfile installs what the console needs, and ends in the command line."""
    assert OURS == ["console", "jobbroker", "migrate"]
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    assert "'.[console]'" in dockerfile
    assert 'ENTRYPOINT ["jobbroker"]' in dockerfile


@pytest.mark.parametrize("name", OURS)
def test_settings_and_commands_are_the_programs(name: str) -> None:
    """An unknown setting would keep a container from starting."""
    service = SERVICES[name]
    ours = {one for one in service.get("environment", {}) if one.startswith("JOBBROKER_")}
    assert ours <= DEFAULTS.keys()
    if "entrypoint" not in service:
        assert service["command"][0] in COMMANDS


def test_the_console_asks_the_broker_where_it_listens() -> None:
    """By the service's name and port; both listen beyond loopback, and are published on it unless somebody says so."""
    console, broker = SERVICES["console"], SERVICES["jobbroker"]
    api = re.fullmatch(r"http://(\w+):(\d+)", console["environment"]["JOBBROKER_CONSOLE_API_URL"])
    assert api
    assert api[1] == "jobbroker"
    assert api[2] in inside("jobbroker")
    assert api[2] == DEFAULTS["JOBBROKER_HTTP_PORT"]
    assert broker["environment"]["JOBBROKER_HTTP_HOST"] == "0.0.0.0"  # noqa: S104 - inside a container
    assert console["environment"]["JOBBROKER_CONSOLE_HOST"] == "0.0.0.0"  # noqa: S104 - the same
    assert inside("console") == {DEFAULTS["JOBBROKER_CONSOLE_PORT"]}
    assert "http://127.0.0.1:8080/healthz" in str(console["healthcheck"]["test"])
    for one in [*console["ports"], *broker["ports"]]:
        assert one.startswith("${PLAIN_ADDRESS:-127.0.0.1}:")


def test_the_console_holds_no_secret_of_the_database() -> None:
    """It is a client of the API: neither the database's login nor the MQTT server's is there, nor a volume."""
    console = SERVICES["console"]
    assert {
        one for one in console["environment"] if not one.startswith("JOBBROKER_CONSOLE_")
    } == set()
    assert "volumes" not in console


def test_what_services_wait_for_and_keep_is_there() -> None:
    """Every service that another one waits for, and every named volume, and every variable in .env.example."""
    for service in SERVICES.values():
        assert set(service.get("depends_on", [])) <= SERVICES.keys()
        named = {str(one).partition(":")[0] for one in service.get("volumes", [])}
        assert {one for one in named if not one.startswith(".")} <= COMPOSE["volumes"].keys()
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", text))
    assert asked <= set(
        re.findall(r"^#? ?(\w+)=", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE)
    )
