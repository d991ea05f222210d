"""Settings: everything is checked at start, and each message names the variable, the value and the limit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker.local_settings import PREFIX, SettingsError
from broker.outside import sealer_for, store_of
from broker.sealing import KeyRing
from broker.secret_keys import new_key
from broker.settings import Settings, describe, load_settings, local_settings, unknown_variables

GOOD = {
    "JOBBROKER_DATABASE_URL": "postgresql://serving:very-secret@db:5432/jobs",
    "JOBBROKER_MQTT_URL": "mqtt://%40jobbroker:just-as-secret@mqtt:1884",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with what is required, and nothing of the developer's."""
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_required_variables_are_enough(environment: pytest.MonkeyPatch) -> None:
    """With the two URLs all else has its default."""
    settings = load_settings()
    assert settings.mqtt.username == "@jobbroker"
    assert settings.mqtt.address.port == 1884
    assert settings.owner_url == GOOD["JOBBROKER_DATABASE_URL"]
    assert (settings.batch_most, settings.receive_maximum) == (512, 1000)
    assert settings.tls_context() is None


@pytest.mark.parametrize("name", ["DATABASE_URL", "MIGRATION_URL"])
def test_a_wrong_database_url_does_not_show_its_password(
    environment: pytest.MonkeyPatch, name: str
) -> None:
    """Python's own words for a host with such a character quote all of the URL's middle (found by fuzzing)."""
    environment.setenv(f"JOBBROKER_{name}", "postgresql://ann:very-secret@\u2100/jobs")
    with pytest.raises(SettingsError, match=f"JOBBROKER_{name}: expected postgresql://") as problem:
        load_settings()
    assert "very-secret" not in str(problem.value)


def test_an_empty_variable_is_an_unset_one(environment: pytest.MonkeyPatch) -> None:
    """Compose files pass empty values for what nobody set."""
    environment.setenv("JOBBROKER_LANES", "")
    assert load_settings().lanes == Settings.model_fields["lanes"].default


def test_all_problems_are_told_at_once(environment: pytest.MonkeyPatch) -> None:
    """A line for each missing, wrong and unknown variable."""
    environment.delenv("JOBBROKER_DATABASE_URL")
    environment.setenv("JOBBROKER_LANES", "0")
    environment.setenv("JOBBROKER_LOG_FORMAT", "xml")
    environment.setenv("JOBBROKER_POOLSIZE", "3")
    with pytest.raises(SettingsError) as problem:
        load_settings()
    lines = str(problem.value).splitlines()
    assert len(lines) == 4
    assert "JOBBROKER_POOLSIZE is not a setting; did you mean JOBBROKER_POOL_SIZE?" in lines
    assert any(line.startswith("JOBBROKER_DATABASE_URL is required") for line in lines)
    assert any(line.startswith("JOBBROKER_LANES '0'") and "1" in line for line in lines)
    assert any("JOBBROKER_LOG_FORMAT 'xml'" in line and "'json'" in line for line in lines)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JOBBROKER_DATABASE_URL", "http://a:very-secret@db/jobs"),
        ("JOBBROKER_DATABASE_URL", "postgresql://a:very-secret@db"),
        ("JOBBROKER_MIGRATION_URL", "mysql://a:very-secret@db/jobs"),
        ("JOBBROKER_MQTT_URL", "http://a:very-secret@mqtt"),
        ("JOBBROKER_MQTT_URL", "mqtt://a:very-secret@mqtt:99999"),
        ("JOBBROKER_OPERATOR_URL", "ann:very-secret@mqtt"),
    ],
)
def test_a_wrong_url_is_named_and_its_password_is_not(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """The message names the variable and never shows what is inside the URL."""
    environment.setenv(name, value)
    with pytest.raises(SettingsError) as problem:
        load_settings()
    assert name in str(problem.value)
    assert "very-secret" not in str(problem.value)


def test_nothing_printed_shows_a_password(environment: pytest.MonkeyPatch) -> None:
    """A repr of the settings, as a log line may have it, hides every URL."""
    assert "secret@" not in repr(load_settings())


@pytest.mark.parametrize("name", ["HTTP_PORT", "HTTP_IOT_PORT", "HTTP_JOBS_DATA_PORT"])
def test_any_port_for_http_is_http(environment: pytest.MonkeyPatch, name: str) -> None:
    """Whichever is set is listened on; with HTTP_PORT off and no other there is none."""
    environment.setenv("JOBBROKER_HTTP_PORT", "off")
    assert not load_settings().has_http
    environment.setenv(f"JOBBROKER_{name}", "0")
    assert load_settings().has_http


@pytest.mark.parametrize("said", [None, ""])
def test_http_is_on_8000_unless_somebody_says_otherwise(
    environment: pytest.MonkeyPatch, said: str | None
) -> None:
    """Unset or empty is the default; `off` alone turns it off, any other word is refused by name."""
    if said is not None:
        environment.setenv("JOBBROKER_HTTP_PORT", said)
    assert (load_settings().http_port, load_settings().http_host) == (8000, "127.0.0.1")
    environment.setenv("JOBBROKER_HTTP_PORT", "none")
    with pytest.raises(SettingsError, match="JOBBROKER_HTTP_PORT 'none'"):
        load_settings()


def test_a_store_is_set_up_as_a_whole(environment: pytest.MonkeyPatch) -> None:
    """An endpoint without its keys is refused, and one that is no endpoint; the secret is never shown."""
    environment.setenv("JOBBROKER_S3_ENDPOINT", "https://s3.example:9000")
    with pytest.raises(SettingsError, match="JOBBROKER_S3_SECRET_KEY belong together"):
        load_settings()
    environment.setenv("JOBBROKER_S3_ACCESS_KEY", "key")
    environment.setenv("JOBBROKER_S3_SECRET_KEY", "very-secret")
    settings = load_settings()
    store = store_of(settings)
    assert store is not None
    assert (store.endpoint, store.secret_key) == ("https://s3.example:9000", "very-secret")
    assert "very-secret" not in f"{settings!r} {store!r}"
    environment.setenv("JOBBROKER_S3_ENDPOINT", "s3.example")
    with pytest.raises(SettingsError, match=r"S3_ENDPOINT 's3\.example': endpoint"):
        load_settings()


def test_a_secret_key_is_checked_and_never_shown(environment: pytest.MonkeyPatch) -> None:
    """A key that is none is told by its number; neither message nor repr has anything of it."""
    environment.setenv("JOBBROKER_SECRET_KEY", "very-secret-but-no-key")
    with pytest.raises(SettingsError, match="JOBBROKER_SECRET_KEY: key 1: ") as problem:
        load_settings()
    assert "very-secret" not in str(problem.value)
    key = new_key()
    environment.setenv("JOBBROKER_SECRET_KEY", f"{key},{new_key()}")
    settings = load_settings()
    assert key not in repr(settings)
    assert sealer_for(settings).key_id == KeyRing.parse(key).key_id


def test_certificates_go_with_tls_and_with_each_other(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A certificate without its key, or with mqtt://, is refused; so is a file that is not there."""
    file = tmp_path / "client.crt"
    file.write_text("")
    environment.setenv("JOBBROKER_MQTT_CERT_FILE", str(file))
    with pytest.raises(SettingsError, match="belong together"):
        load_settings()
    environment.setenv("JOBBROKER_MQTT_KEY_FILE", str(file))
    with pytest.raises(SettingsError, match="write mqtts://"):
        load_settings()
    environment.setenv("JOBBROKER_MQTT_CA_FILE", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match=r"JOBBROKER_MQTT_CA_FILE .*cannot be read"):
        load_settings()


def test_a_key_that_is_none_is_told_with_its_variables(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Files that OpenSSL cannot use are an error of settings, not of the connection."""
    file = tmp_path / "client.pem"
    file.write_text("no key")
    environment.setenv("JOBBROKER_MQTT_URL", "mqtts://mqtt")
    environment.setenv("JOBBROKER_MQTT_CERT_FILE", str(file))
    environment.setenv("JOBBROKER_MQTT_KEY_FILE", str(file))
    with pytest.raises(SettingsError, match="JOBBROKER_MQTT_CERT_FILE"):
        load_settings().tls_context()


def test_commands_need_nothing_and_still_check(environment: pytest.MonkeyPatch) -> None:
    """Without any variable commands work; a wrong one is refused there too."""
    for name in GOOD:
        environment.delenv(name)
    assert local_settings().database_url is None
    with pytest.raises(SettingsError, match="JOBBROKER_MIGRATION_URL is required"):
        _ = local_settings().owner_url
    environment.setenv("JOBBROKER_DATABASE", "x")
    with pytest.raises(SettingsError, match="did you mean JOBBROKER_DATABASE_URL"):
        local_settings()


def test_a_far_off_name_points_to_the_list() -> None:
    """Where nothing is near, the message says where the names are."""
    assert unknown_variables({"JOBBROKER_XYZ": "1", "HOME": "/"}) == [
        "JOBBROKER_XYZ is not a setting; see `jobbroker settings`"
    ]


def test_every_setting_is_described() -> None:
    """The list that docs are made from has a text for each."""
    rows = describe()
    assert {name for name, _, _ in rows} >= set(GOOD)
    assert all(about for _, _, about in rows)


@pytest.mark.parametrize(
    ("issuer", "audience", "words"),
    [
        ("https://id.example.net/realms/fleet", None, "belong together"),
        (None, "jobbroker", "belong together"),
        ("http://id.example.net", "jobbroker", "JOBBROKER_OIDC_ISSUER .*expected https://"),
        ("id.example.net", "jobbroker", "JOBBROKER_OIDC_ISSUER .*expected https://"),
    ],
)
def test_an_issuer_is_named_whole(
    environment: pytest.MonkeyPatch, issuer: str | None, audience: str | None, words: str
) -> None:
    """Its keys come over https, unless it is on this machine, and its tokens are for us."""
    for name, value in (("ISSUER", issuer), ("AUDIENCE", audience)):
        if value is not None:
            environment.setenv(f"JOBBROKER_OIDC_{name}", value)
    with pytest.raises(SettingsError, match=words):
        load_settings()


def test_where_http_is_reached(environment: pytest.MonkeyPatch) -> None:
    """Listening everywhere is reached on loopback; a free port is not known before."""
    assert load_settings().http_url == "http://127.0.0.1:8000"
    for host, port, url in (
        ("127.0.0.1", "8000", "http://127.0.0.1:8000"),
        ("0.0.0.0", "8000", "http://127.0.0.1:8000"),  # noqa: S104 - a setting of somebody's
        ("::", "80", "http://[::1]:80"),
        ("127.0.0.1", "0", None),
        ("127.0.0.1", "off", None),
    ):
        environment.setenv("JOBBROKER_HTTP_HOST", host)
        environment.setenv("JOBBROKER_HTTP_PORT", port)
        assert load_settings().http_url == url
