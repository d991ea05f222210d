"""The command line's own parts: option values, payloads, exit codes, help."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import click
import pytest
from click.testing import CliRunner

import broker.cli
from broker.cli import COMMANDS, cli, intruder
from broker.cli.brakes import Abort, Retry, brakes
from broker.cli.callers import command_path
from broker.cli.kinds import Duration, Pair, Range, Share, TargetName, json_value, template_arn
from broker.cli.new_job import new_job
from broker.cli.outcome import Exit, Failure, Refused, expected, tells
from broker.cli.outlook import Outlook, in_words
from broker.cli.previewing import print_preview
from broker.cli.watching import bar, exit_of, is_over, told
from broker.embedded.directory import DirectoryTakenError
from broker.local_settings import SettingsError
from schema.errors import Code


@pytest.mark.parametrize(
    ("text", "share"), [("3%", 0.03), ("0.5", 0.5), ("100%", 1.0), ("0", 0.0), ("12.5%", 0.125)]
)
def test_a_share_is_read(text: str, share: float) -> None:
    """A percentage and a fraction mean the same."""
    assert Share().convert(text, None, None) == pytest.approx(share)


@pytest.mark.parametrize("text", ["101%", "2", "-1%", "", "x", "%", "1e3"])
def test_a_share_beyond_its_limits_is_a_usage_error(text: str) -> None:
    """The message names the value."""
    with pytest.raises(click.BadParameter, match="is not a share from 0% to 100%"):
        Share().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "seconds"), [("50ms", 0.05), ("2s", 2.0), ("1.5m", 90.0), ("1h", 3600.0), ("7", 7.0)]
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    """With a unit, or in seconds."""
    assert Duration().convert(text, None, None) == pytest.approx(seconds)


def test_a_range_is_read_and_checked() -> None:
    """Two durations, or one for both; never backwards."""
    assert Range().convert("50ms..2s", None, None) == (0.05, 2.0)
    assert Range().convert("1s", None, None) == (1.0, 1.0)
    for text in ("2s..1s", "1s..", "..", "soon"):
        with pytest.raises(click.BadParameter):
            Range().convert(text, None, None)


def test_pairs_and_parameters_are_read() -> None:
    """A value may hold an equals sign; what is JSON is taken as such."""
    assert Pair().convert("a=b=c", None, None) == ("a", "b=c")
    with pytest.raises(click.BadParameter):
        Pair().convert("=b", None, None)
    assert [json_value(text) for text in ("5", "true", '{"a":1}', "word")] == [
        5,
        True,
        {"a": 1},
        "word",
    ]


def test_targets_become_arns() -> None:
    """By kind and name, or as they are."""
    arn = "arn:aws:iot:eu-west-1:123456789012:thing/a"
    assert TargetName().convert(arn, None, None) == arn
    assert TargetName().convert("thing/a", None, None).endswith(":thing/a")
    assert TargetName().convert("group/g", None, None).endswith(":thinggroup/g")
    with pytest.raises(click.BadParameter):
        TargetName().convert("a", None, None)


def job(**options: Any) -> dict[str, Any]:  # noqa: ANN401 - any option of jobs create
    """A payload, from the options given and nothing else."""
    nothing: dict[str, Any] = {
        "targets": [],
        "groups": [],
        "everything": False,
        "document": None,
        "document_json": None,
        "document_source": None,
        "template": None,
        "parameters": [],
        "url_seconds": None,
        "document_type": None,
        "params": [],
        "job_id": None,
        "description": None,
        "timeout_minutes": None,
        "expires_in_hours": None,
    }
    return new_job(**{**nothing, **options})


def test_a_document_speaks_awss_words() -> None:
    """Targets as ARNs, the timeout in its config, absent what was not said."""
    payload = job(groups=["g"], document_json="{}", job_id="j", timeout_minutes=5)
    assert payload["targets"][0].endswith(":thinggroup/g")
    del payload["targets"]
    assert payload == {
        "document": "{}",
        "jobId": "j",
        "timeoutConfig": {"inProgressTimeoutInMinutes": 5},
    }


def test_a_template_is_named_and_given_parameters() -> None:
    """One's own, one of AWS's in a version or the only one, or by its ARN."""
    payload = job(groups=["g"], template="fw", parameters=[("v", "7")], url_seconds=60)
    del payload["targets"]
    assert payload == {
        "jobTemplateArn": "arn:aws:iot:us-east-1:000000000000:jobtemplate/fw",
        "documentParameters": {"v": "7"},
        "presignedUrlConfig": {"expiresInSec": 60},
    }
    assert template_arn("AWS-Reboot").endswith("::jobtemplate/AWS-Reboot:1.0")
    assert template_arn("AWS-Reboot:2.0").endswith("::jobtemplate/AWS-Reboot:2.0")
    assert template_arn("arn:aws:iot:x:1:jobtemplate/y") == "arn:aws:iot:x:1:jobtemplate/y"


def test_a_type_speaks_the_seeds_words() -> None:
    """One target of one kind, the parameters, the id by its own name."""
    arn = TargetName().convert("thing/a", None, None)
    assert job(targets=[arn], document_type="reboot", job_id="j") == {
        "document_type": "reboot",
        "document_params": {},
        "target_device_id": "a",
        "job_id": "j",
    }
    everything = job(everything=True, document_type="reboot", expires_in_hours=2.0)
    assert everything["target_all"] is True
    assert everything["expires_in_hours"] == 2.0


@pytest.mark.parametrize(
    "options",
    [
        {"document_json": "{}"},
        {"groups": ["g"]},
        {"groups": ["g"], "document_json": "{}", "document_type": "x"},
        {"groups": ["g", "h"], "document_type": "x"},
        {"everything": True, "document_json": "{}"},
        {"everything": True, "groups": ["g"], "document_type": "x"},
        {"groups": ["g"], "document_json": "{}", "expires_in_hours": 1.0},
        {"groups": ["g"], "document_type": "x", "description": "d"},
    ],
)
def test_options_that_do_not_go_together_are_usage_errors(options: dict[str, Any]) -> None:
    """Nothing is silently left out."""
    with pytest.raises(click.UsageError):
        job(**options)


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        (Code.RESOURCE_NOT_FOUND, 3),
        (Code.RESOURCE_ALREADY_EXISTS, 4),
        (Code.INVALID_STATE_TRANSITION, 4),
        (Code.INVALID_REQUEST, 2),
        (Code.UNAUTHORIZED, 1),
        ("SomethingNew", 1),
    ],
)
def test_a_refusal_has_its_exit_code(code: str, exit_code: int) -> None:
    """By the wire's code; an unknown one is a plain failure."""
    refused = Refused(str(code), "because")
    assert refused.exit_code == exit_code
    assert refused.format_message() == f"because ({code})"


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (SettingsError("x"), 2),
        (DirectoryTakenError("x"), 4),
        (TimeoutError(), 6),
        (asyncpg.InvalidPasswordError("x"), 1),
        (ConnectionRefusedError("x"), 1),
        (ExceptionGroup("several", [TimeoutError("x"), OSError("y")]), 6),
    ],
)
def test_an_expected_error_becomes_one_sentence(error: Exception, exit_code: int) -> None:
    """On stderr, without a traceback, with its exit code."""

    @click.command()
    @tells
    def fails() -> None:
        raise error

    ended = CliRunner().invoke(fails)
    assert ended.exit_code == exit_code
    assert ended.stderr.startswith("Error: ")
    assert len(ended.stderr.strip().splitlines()) == 1
    assert ended.stdout == ""


def test_a_defect_is_not_dressed_up() -> None:
    """What nobody expects keeps its traceback, also inside a group."""
    assert expected(KeyError("x")) is None
    assert expected(ExceptionGroup("several", [TimeoutError(), KeyError("x")])) is None


def finished(status: str = "COMPLETED", **seen: int) -> dict[str, Any]:
    """A job with counts by AWS's names without their frame."""
    return counted(status, seen)


def counted(status: str, seen: dict[str, int]) -> dict[str, Any]:
    """The same, for names that come as values."""
    details = {f"numberOf{name}Things": count for name, count in seen.items()}
    return {"jobId": "j", "status": status, "jobProcessDetails": details}


def test_only_success_everywhere_is_success() -> None:
    """A failed, a canceled and an expired execution all make it 5; a job for nobody is fine."""
    assert exit_of(finished(Succeeded=3)) is Exit.OK
    assert exit_of(finished()) is Exit.OK
    for other in ("Failed", "TimedOut", "Rejected", "Canceled", "Removed"):
        assert exit_of(counted("COMPLETED", {"Succeeded": 3, other: 1})) is Exit.UNSUCCESSFUL
    assert exit_of(finished("CANCELED", Succeeded=3)) is Exit.UNSUCCESSFUL


def test_a_canceled_job_is_over_when_its_last_execution_is() -> None:
    """One that is in progress may still finish and count."""
    assert not is_over(finished("IN_PROGRESS", Succeeded=1))
    assert not is_over(finished("CANCELED", InProgress=1))
    assert is_over(finished("CANCELED", Canceled=1))


def test_a_watched_job_says_how_it_goes_on() -> None:
    """Between two looks: told a minute of the limit, what is missing to the abort, when all are told and done."""
    criterion = {
        "failureType": "FAILED",
        "action": "CANCEL",
        "thresholdPercentage": 20,
        "minNumberOfExecutedThings": 10,
    }
    job = {
        **counted("IN_PROGRESS", {"Queued": 4}),
        "executionCount": 960,
        "jobExecutionsRolloutConfig": {"maximumPerMinute": 100},
        "abortConfig": {"criteriaList": [criterion]},
    }
    outlook = Outlook()
    assert outlook.of(job, 100.0) == [
        "told of 100 a minute",
        "10 more FAILED abort it",
        "all told in 10 min",
    ]
    later = {**job, **counted("IN_PROGRESS", {"Queued": 4, "Succeeded": 47, "Failed": 1})}
    assert outlook.of(later, 130.0) == [
        "96 told of 100 a minute",
        "11 more FAILED abort it",
        "all told in 9 min",
        "done in about 10 min",
    ]
    running = {"stage": 2, "state": "RUNNING", "numberOfThings": 40, "numberOfWaitingThings": 30}
    staged = {**later, "stageStates": [{"stage": 1, "state": "PASSED"}, {**running, "gate": "why"}]}
    assert Outlook().of(staged, 0.0)[:2] == ["stage 2 of 2: 10 of 40 told", "gate: why"]
    waits = {"stage": 3, "state": "WAITING", "numberOfThings": 864}
    gated = {**later, "stageStates": [running, waits]}
    assert [one for one in Outlook().of(gated, 0.0) if "told in" in one] == [
        "all of this stage told in 28 s"
    ]
    held = {**later, "holds": ["PAUSE"]}
    assert outlook.of(held, 131.0)[0] == "held: PAUSE"
    assert not any(phrase.startswith("all told") for phrase in outlook.of(held, 132.0))
    assert Outlook().of(finished(Succeeded=3), 0.0) == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (90, "90 s"),
        (125, "2 min"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_are_said_as_people_do(seconds: float, words: str) -> None:
    """Two units at most."""
    assert in_words(seconds) == words


def test_the_bar_is_as_long_whatever_the_counts() -> None:
    """Its parts have the executions' proportions, and the words behind it the counts."""
    half = bar(finished("IN_PROGRESS", Succeeded=2, Queued=2)).plain
    assert half.startswith("█" * 16 + "░" * 16 + " ")
    assert half.endswith("2 succeeded, 2 queued")
    assert bar(finished("IN_PROGRESS")).plain.startswith("░" * 32 + " ")
    assert told(finished(TimedOut=1)) == "j COMPLETED: 1 timed out"


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("jobs/create", "jobs/create"),
        ("jobs/get", "jobs/j/get"),
        ("jobs/executions/cancel", "jobs/j/executions/t/cancel"),
        ("jobs/executions/get", "jobs/j/executions/t/get"),
        ("things/list", "things/list"),
    ],
)
def test_a_command_has_its_topic(verb: str, path: str) -> None:
    """What a command is about stands in the topic."""
    about = {"job_id": "j" if "/j/" in path else "", "thing": "t" if "/t/" in path else ""}
    assert command_path(verb, **about) == path


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command with its name in full."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        yield " ".join((*path, name)), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def test_every_command_has_help_with_an_example() -> None:
    """And every command that lists or shows has --json."""
    for name, command in commands(cli):
        assert command.help, name
        assert "Example:" in command.help, name
        options = {option for parameter in command.params for option in parameter.opts}
        plain = isinstance(command, click.Group) or name in (
            "serve",
            "console",
            "health",
            "completion",
        )
        assert plain or "--json" in options, name


def test_the_list_of_commands_says_what_each_says_of_itself() -> None:
    """The lines are written twice so that --help imports nothing; this keeps them together."""
    context = click.Context(cli)
    for name, (_, line) in COMMANDS.items():
        command = cli.get_command(context, name)
        assert command
        assert command.short_help
        assert line.startswith(command.short_help.rstrip(".")), name


def test_help_imports_no_heavy_library() -> None:
    """`jobbroker --help` is quick because the drivers stay out of it."""
    heavy = ("asyncpg", "pydantic", "cryptography", "aiomqtt", "rich", "uvloop", "structlog")
    script = (
        "import sys; from broker.cli import cli; cli(['--help'], standalone_mode=False);"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_intruding_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another distribution's `schema` in front of ours is one sentence with its path."""
    assert intruder() is None
    other = tmp_path / "schema"
    other.mkdir()
    (other / "__init__.py").write_text("")
    monkeypatch.setattr(broker.cli, "__file__", str(tmp_path / "elsewhere" / "cli" / "x.py"))
    problem = intruder()
    assert problem
    assert "`broker` is found at" in problem


def test_a_failure_prints_its_sentence_and_its_code() -> None:
    """Scripts read the number, people the words."""
    failure = Failure("no such thing", Exit.NOT_FOUND)
    assert (failure.exit_code, failure.format_message()) == (3, "no such thing")


def test_brakes_speak_awss_words() -> None:
    """--per-minute, --abort and --retry become configurations; what a file says of others stands beside them."""
    ramp = {"exponentialRate": {"baseRatePerMinute": 10}}
    config = io.BytesIO(json.dumps({"jobExecutionsRolloutConfig": ramp, "tags": []}).encode())
    made = brakes(
        per_minute=50,
        aborts=[Abort()(text) for text in ("FAILED 20% after 10", "all>12.5%")],
        retries=[Retry()("failed=2")],
        config=config,
    )
    assert made == {
        "jobExecutionsRolloutConfig": {**ramp, "maximumPerMinute": 50},
        "abortConfig": {
            "criteriaList": [
                {
                    "failureType": kind,
                    "action": "CANCEL",
                    "thresholdPercentage": percent,
                    "minNumberOfExecutedThings": least,
                }
                for kind, percent, least in (("FAILED", 20, 10), ("ALL", 12.5, 1))
            ]
        },
        "jobExecutionsRetryConfig": {
            "criteriaList": [{"failureType": "FAILED", "numberOfRetries": 2}]
        },
        "tags": [],
    }
    assert brakes() == {}


@pytest.mark.parametrize("text", ["FAILED", "FAILED 20", "OFTEN 20% after 10", "FAILED 20% after"])
def test_a_criterion_that_is_none_is_a_usage_error(text: str) -> None:
    """What is no criterion is named, with an example of one."""
    with pytest.raises(click.BadParameter, match="FAILED 20% after 10"):
        Abort()(text)


@pytest.mark.parametrize("text", ["FAILED", "REJECTED=2", "FAILED=many"])
def test_retries_that_are_none_are_a_usage_error(text: str) -> None:
    """REJECTED is never tried again, so it is not offered."""
    with pytest.raises(click.BadParameter, match="FAILED=N, TIMED_OUT=N or ALL=N"):
        Retry()(text)


@pytest.mark.parametrize("text", [b"{", b"[]"])
def test_a_configuration_that_is_no_object_is_a_usage_error(text: bytes) -> None:
    """--config is a JSON object."""
    with pytest.raises(click.UsageError, match="--config: not"):
        brakes(config=io.BytesIO(text))


def test_a_preview_of_stages_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Each stage's times, for whom it waits, and what all that takes for granted."""
    begins = 1_795_380_683
    print_preview(
        {
            "jobId": "j",
            "status": "IN_PROGRESS",
            "execution_count": 3,
            "exists": False,
            "firstThings": ["a", "b", "c"],
            "rollout": {
                "byMinute": [{"minute": 0, "things": 1}],
                "notTold": 2,
                "waitsForHand": {"stage": 1, "at": begins, "reason": "why"},
                "assumptions": ["much"],
            },
            "stages": [
                {"stage": 1, "numberOfThings": 1, "startsAt": begins, "toldAt": begins},
                {"stage": 2, "numberOfThings": 2, "isEstimate": True},
            ],
            "document": {"text": "{}"},
        }
    )
    printed = capsys.readouterr().out.splitlines()
    at = "2026-11-22 20:51:23 UTC"
    assert printed[2:5] == [
        "told: 1 until somebody goes on with it",
        f"waits for a hand from {at} on: why",
        "taken for granted: much",
    ]
    assert [line.split() for line in printed[-2:]] == [
        ["1", "1", *at.split(), *at.split()],
        ["2", "about", "2"],
    ]
