"""Jobs in files, and the options of stages: what they come to, and what is refused by its name."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from broker.cli.brakes import Rate
from broker.cli.gating import Gate, GateErrors, StageSizes, gated
from broker.cli.job_file import read_job_file
from broker.cli.new_job import new_job
from schema.commands import CreateJob
from schema.decode import decode

ROOT = Path(__file__).resolve().parents[2]
NOTHING: dict[str, Any] = {
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


def read(text: str) -> dict[str, Any]:
    """What a file comes to."""
    return read_job_file(io.BytesIO(text.encode()))


def test_the_file_in_the_docs_is_a_job() -> None:
    """The example in docs/jobs.md is taken, and says what its words say."""
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/jobs.md").read_text(), re.DOTALL)
    payload = read(example)
    command = decode("jobs/create", payload)
    assert isinstance(command, CreateJob)
    assert command.stages is not None
    assert [one.percentage for one in command.stages] == [5, 25, 100]
    assert [one.success_percentage for one in command.stages] == [95, 95, 100]
    assert payload["jobExecutionsRolloutConfig"] == {"maximumPerMinute": 100}
    assert payload["tags"] == [{"Key": "team", "Value": "pumps"}]
    assert payload["schedulingConfig"] == {"startTime": "2027-03-01 02:00"}


def test_json_is_read_as_well() -> None:
    """The members of jobs/create, as they are."""
    sent = {"targets": ["thing/a"], "document": {"a": 1}, "stages": [{"percentage": 5}, {}]}
    payload = read(json.dumps(sent))
    assert payload["targets"] == ["arn:aws:iot:us-east-1:000000000000:thing/a"]
    assert payload["stages"] == sent["stages"]
    assert payload["document"] == {"a": 1}


def test_each_stage_may_have_a_gate_of_its_own() -> None:
    """In short words and in the protocol's; what it says itself holds above what all are told."""
    payload = read(
        """
        things: [a, b]
        document: '{}'
        gate: 90%
        stages:
          - {size: group/canaries, gate: 100% pause, soak: 1h}
          - {size: 25%, gateErrors: 5 cancel}
          - {percentage: 100, numberOfFailures: 9}
        """
    )
    assert payload["stages"] == [
        {
            "thingGroupName": "canaries",
            "successPercentage": 100,
            "successAction": "PAUSE",
            "soakMinutes": 60,
        },
        {
            "percentage": 25,
            "successPercentage": 90,
            "numberOfFailures": 5,
            "errorAction": "CANCEL",
        },
        {"percentage": 100, "numberOfFailures": 9},
    ]
    decode("jobs/create", payload)


def test_times_stay_as_they_are_written() -> None:
    """YAML would make a time of its own of them."""
    payload = read("schedulingConfig: {startTime: 2027-03-01 02:00:00, endTime: 2027-04-01}")
    assert payload["schedulingConfig"] == {
        "startTime": "2027-03-01 02:00:00",
        "endTime": "2027-04-01",
    }


def test_a_document_beside_the_file(tmp_path: Path) -> None:
    """By its path from where the file is."""
    (tmp_path / "fw.json").write_text('{"operation":"install"}')
    (tmp_path / "job.yaml").write_text("documentFile: fw.json\ngroups: pumps\n")
    with (tmp_path / "job.yaml").open("rb") as file:
        payload = read_job_file(file)
    assert payload["document"] == '{"operation":"install"}'
    assert payload["targets"] == ["arn:aws:iot:us-east-1:000000000000:thinggroup/pumps"]


def test_options_stand_above_the_file() -> None:
    """Another target, another document; what they do not say stays the file's."""
    base = read("{groups: pumps, document: {a: 1}, description: d, jobId: j}")
    payload = new_job(
        **{**NOTHING, "template": "t", "targets": ["arn:x"], "job_id": "k"}, base=base
    )
    assert payload["jobTemplateArn"].endswith(":jobtemplate/t")
    assert (payload["targets"], payload["jobId"], payload["description"]) == (["arn:x"], "k", "d")
    assert "document" not in payload
    assert new_job(**NOTHING, base=base) == base


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1, 2]", "not an object"),
        ("a: b: c", "neither YAML nor JSON"),
        ("{1: 2}", "not an object"),
        ("gate: 95%", "gate without stages"),
        ("stages: 5%,many", "stages: 'many' is not a stage"),
        ("{stages: 5%, gate: most}", "gate: 'most' is not a gate"),
        ("{stages: 5%, soak: long}", "soak: 'long' is not a duration"),
        ("{stages: 5%, gateErrors: few}", "gateErrors: 'few' is not an error threshold"),
        ("rollout: fast", "rollout: 'fast' is not a rate"),
        ("abort: now", "abort: 'now' is not a criterion"),
        ("retry: {FAILED: often}", "retry: 'FAILED=often'"),
        ("timeout: long", "timeout: 'long' is not a duration"),
        ("continuous: maybe", "continuous: 'maybe': is neither"),
        ("parameters: x", "parameters: 'x'"),
        ("targets: [pump]", "targets: 'pump' is not thing/NAME"),
        ("{rollout: 5, jobExecutionsRolloutConfig: {}}", "say the same"),
        ("{jobId: a, jobId: b}", "jobId stands twice, at line 1"),
        ("document: !!python/object:os.x {}", "neither YAML nor JSON"),
        ("document: !!binary aGk=", "has what JSON has not"),
        ("documentFile: /nowhere/at/all.json", "documentFile: "),
    ],
)
def test_what_is_wrong_is_named(text: str, says: str) -> None:
    """A usage error with the member and the value."""
    with pytest.raises(click.UsageError, match=re.escape(says)):
        read(text)


def test_stage_options() -> None:
    """All forms of sizes, gates and thresholds."""
    assert StageSizes().convert("5%, 20,group/a,model=px9,rest", None, None) == [
        {"percentage": 5},
        {"numberOfThings": 20},
        {"thingGroupName": "a"},
        {"attribute": {"name": "model", "value": "px9"}},
        {},
    ]
    assert Gate().convert("95% pause", None, None) == {
        "successPercentage": 95,
        "successAction": "PAUSE",
    }
    assert GateErrors().convert("2.5% cancel", None, None) == {
        "errorPercentage": 2.5,
        "errorAction": "CANCEL",
    }
    assert GateErrors().convert("3", None, None) == {"numberOfFailures": 3, "errorAction": "PAUSE"}
    assert [Rate().convert(text, None, None) for text in ("100/min", "100 / m", "100")] == [100] * 3
    with pytest.raises(click.BadParameter, match="0/min"):
        Rate().convert("0/min", None, None)


def test_the_last_stage_has_no_gate_behind_it() -> None:
    """What is said of gates goes to each stage but the last, error thresholds to all."""
    stages = gated([{"percentage": 5}, {}], {"successPercentage": 95}, 90, {"numberOfFailures": 1})
    assert stages == [
        {"successPercentage": 95, "soakMinutes": 2, "numberOfFailures": 1, "percentage": 5},
        {"numberOfFailures": 1},
    ]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["stages", "gate", "soak", "retry", "tags", "rollout", "targets"])
                | st.text(max_size=5),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_file_is_read_or_refused(value: object) -> None:
    """Whatever YAML holds comes to a payload that is JSON, or to a usage error."""
    try:
        payload = read(yaml.safe_dump(value))
    except click.UsageError:
        return
    json.dumps(payload)
