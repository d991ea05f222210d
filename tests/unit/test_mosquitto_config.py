"""mosquitto.conf: one source for the deployed and the embedded server."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.mosquitto_config import DEPLOYED, Bind, MosquittoConfig, render_config
from handlers import outbox

ROOT = Path(__file__).resolve().parents[2]


def settings(text: str) -> list[str]:
    """Return the lines that Mosquitto acts on."""
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_deployed_file_is_the_rendered_one() -> None:
    """mosquitto.conf at the top of the repository says exactly what the renderer says."""
    assert (ROOT / "mosquitto.conf").read_text() == render_config(DEPLOYED)


def test_what_was_told_is_remembered_over_two_saves() -> None:
    """What Mosquitto forgets in a crash is what it has not saved yet: the broker must still know of it."""
    (saved,) = (line for line in settings(render_config(DEPLOYED)) if "autosave_interval" in line)
    assert outbox.LATELY.total_seconds() >= 2 * int(saved.split()[1])


def test_embedded_differs_only_in_places() -> None:
    """Ports, addresses and paths are all that an embedded server changes."""
    embedded = render_config(
        MosquittoConfig(
            auth_directory="/data/auth",
            data_directory="/data/mosquitto",
            pid_file=None,
            user="someone",
            plain=Bind(20001, "127.0.0.1"),
            devices=Bind(20002),
            operators=None,
            internal=Bind(20003, "127.0.0.1"),
        )
    )
    words = {line.split()[0] for line in settings(embedded)}
    deployed = {line.split()[0] for line in settings(render_config(DEPLOYED))}
    assert words - deployed == {"user"}
    assert deployed - words == {"pid_file"}
    listeners = [line for line in settings(embedded) if line.startswith("listener")]
    assert listeners == ["listener 20003 127.0.0.1", "listener 20001 127.0.0.1", "listener 20002"]
    assert "/mosquitto/auth" not in embedded


def test_only_the_internal_listener_is_unmounted() -> None:
    """Each listener but the first, the broker's, puts its tenant in front of every topic."""
    text = render_config(MosquittoConfig(tenants=(("acme", Bind(8900)),)))
    blocks = "\n".join(settings(text)).split("listener ")[1:]
    mounts = [
        next((line for line in block.splitlines() if line.startswith("mount_point")), None)
        for block in blocks
    ]
    mounted = "mount_point default/"
    assert mounts == [None, mounted, mounted, mounted, "mount_point acme/"]


def test_each_further_tenant_has_its_own_authority() -> None:
    """A tenant's listener takes certificates of that tenant's authority and no other."""
    text = render_config(MosquittoConfig(tenants=(("acme", Bind(8900)),)))
    block = settings(text.split("listener 8900")[1])
    assert "cafile /mosquitto/auth/tenants/acme/ca.crt" in block
    assert "crlfile /mosquitto/auth/tenants/acme/crl.pem" in block
    assert "require_certificate true" in block


def test_plain_mode_mounts_nothing() -> None:
    """With JOBBROKER_MQTT_TOPICS=plain the topics are AWS's own on every listener."""
    assert "mount_point" not in "\n".join(
        settings(render_config(MosquittoConfig(topics_mode="plain")))
    )


@pytest.mark.parametrize(
    "config",
    [
        MosquittoConfig(auth_directory="/a\nallow_anonymous true"),
        MosquittoConfig(tenants=(("no/slash", Bind(1)),)),
        MosquittoConfig(tenants=(("default", Bind(1)),)),
        MosquittoConfig(tenants=(("acme", Bind(1)),), topics_mode="plain"),
    ],
)
def test_what_would_break_the_file_is_refused(config: MosquittoConfig) -> None:
    """A line break, a bad tenant id and an impossible tenant raise before anything is written."""
    with pytest.raises(ValueError, match=r"control character|tenant"):
        render_config(config)
