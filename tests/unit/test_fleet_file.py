"""A fleet in a file: what is read of CSV and JSON, and what is told of each line that is wrong."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.cli.fleet_file import FleetFileError, read_fleet

KEY = "00112233445566778899AABBCCDDEEFF"
PLAN = {"frequency_plan_id": "EU_863_870_TTN"}
DEVICE = {"device_id": "pump-1", "dev_eui": "70B3D57ED0000001", "app_key": KEY}


def test_a_heading_says_which_column_is_which() -> None:
    """In any order and case, with a byte order mark, spaces and empty fields; defaults fill in what is not said."""
    rows = [
        "\ufeffApp_Key, device_id ,DEV_EUI,name",
        f"{KEY},pump-1,70b3d57ed0000001,",
        "",
        f"{KEY},pump-2,70b3d57ed0000002,North",
    ]
    text = "\r\n".join(rows)
    lines = read_fleet(text, PLAN)
    assert [(one.number, one.problem) for one in lines] == [(2, ""), (4, "")]
    assert lines[0].device == {**DEVICE, **PLAN, "dev_eui": "70b3d57ed0000001"}
    assert lines[1].device["name"] == "North"


@pytest.mark.parametrize("text", [json.dumps([DEVICE, {**DEVICE, "device_id": "p"}]), None])
def test_json_is_a_list_or_an_object_a_line(text: str | None) -> None:
    """Each is checked by itself; the number is that in the list, or the line."""
    text = text or f"{json.dumps(DEVICE)}\n\n{json.dumps({**DEVICE, 'device_id': 'p'})}\n"
    lines = read_fleet(text, PLAN)
    assert lines[0].problem == ""
    assert lines[1].problem.startswith("device_id: 'p'")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"app_key": KEY + "00"}, "app_key: is not a key of 32"),
        ({"app_key": int("1" * 32)}, "app_key: is not a key of 32"),
        ({"dev_eui": None}, "dev_eui"),
        ({"frequency_plan_id": "?"}, "frequency_plan_id: '?'"),
        ({"device_id": "pump-0"}, "dev_eui 70b3d57ed0000001 is in line 1 already"),
        ({"dev_eui": "70B3D57ED0000002"}, "device_id pump-1 is in line 1 already"),
    ],
)
def test_a_wrong_line_is_its_own_problem(change: dict[str, object], problem: str) -> None:
    """And no key is shown, whatever was wrong with it."""
    first, second = read_fleet(json.dumps([DEVICE, {**DEVICE, **change}]), PLAN)
    assert first.problem == ""
    assert second.problem.startswith(problem)
    assert KEY[:8] not in second.problem + repr(second)
    assert "1111" not in second.problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no devices"),
        ("device_id,dev_eui\n", "no devices"),
        ("dev_eui,app_key\n1,2\n", "no device_id"),
        ("device_id,color\n1,2\n", "its heading has 'color'"),
        ("device_id,dev_eui\n1,2,3\n", "line 2 has more fields"),
        ('device_id\n"x\n', "unexpected end of data"),
        ("[1]", "no list of objects"),
        ("[", "it is not JSON"),
        ('{"device_id": "a"}\nx', "line 2 is not JSON"),
    ],
)
def test_a_file_that_is_none_is_told_so(text: str, problem: str) -> None:
    """In one sentence, with the line where there is one."""
    with pytest.raises(FleetFileError, match=problem):
        read_fleet(text, {})


@given(st.text())
def test_whatever_the_file_is_it_is_read_or_refused(text: str) -> None:
    """No text makes anything else of it."""
    try:
        lines = read_fleet(text, PLAN)
    except FleetFileError:
        return
    assert lines
