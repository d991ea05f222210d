"""What the console says and sends, without a browser: sentences, numbers, drafts, requests, cookies, streams."""

from __future__ import annotations

import json
import shlex
from collections.abc import AsyncIterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.console.api import request_of, sent_as
from broker.console.copies import as_boto3, as_cli, as_curl, as_mosquitto, job_as_created
from broker.console.draft import Draft, draft_of
from broker.console.draft_rows import DraftError, StageRow, WindowRow
from broker.console.draft_texts import marked, placeholder_marked
from broker.console.feed import messages
from broker.console.links import execution_path, with_query
from broker.console.session import Sessions
from broker.console.words import (
    abort_distance,
    added,
    bar,
    bar_text,
    counts,
    cumulated,
    ended,
    in_utc,
    lasting,
    moment,
    sentences,
    zone_of,
)
from schema.decode import decode
from schema.http_routes import ROUTES
from schema.lifecycle import Status

BERLIN = ZoneInfo("Europe/Berlin")
ARN = "arn:aws:iot:us-east-1:000000000000:thinggroup/pumps"
JOB: dict[str, Any] = {
    "jobId": "fw-7",
    "targets": [ARN],
    "targetSelection": "SNAPSHOT",
    "description": "It's new",
    "timeoutConfig": {"inProgressTimeoutInMinutes": 30},
    "jobExecutionsRolloutConfig": {
        "maximumPerMinute": 500,
        "exponentialRate": {
            "baseRatePerMinute": 10,
            "incrementFactor": 2.0,
            "rateIncreaseCriteria": {"numberOfNotifiedThings": 50},
        },
    },
    "abortConfig": {
        "criteriaList": [
            {
                "failureType": "FAILED",
                "action": "CANCEL",
                "thresholdPercentage": 10.0,
                "minNumberOfExecutedThings": 20,
            }
        ]
    },
    "jobExecutionsRetryConfig": {"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 2}]},
    "jobProcessDetails": {"numberOfSucceededThings": 90, "numberOfFailedThings": 7},
}
DOCUMENT = '{"operation": "install"}'


def test_a_job_is_told_in_sentences() -> None:
    """What will happen with a job stands there in words."""
    said = sentences(JOB, 1240)
    assert said == [
        "Begins when it is created.",
        (
            "Tells 1,240 things, 10 a minute at first, 2.0 times as fast each time 50 were told,"
            " at most 500 a minute."
        ),
        "A thing that has not ended 30 min after it began has timed out.",
        "Tries again after failed up to 2 times.",
        "Cancels itself when 10 % are failed, once 20 things have ended.",
    ]
    assert sentences({}, 1)[1] == "Tells 1 thing at once."
    later = {"schedulingConfig": {"startTime": "2027-01-01 10:00", "endTime": "2027-01-02 10:00"}}
    assert sentences(later)[0] == (
        "Begins on 2027-01-01 10:00. On 2027-01-02 10:00 it tells nobody any more."
    )


def test_counts_and_bars() -> None:
    """A part that is there is never invisible, and the bar is told in words, too."""
    found = counts(JOB)
    assert found[Status.SUCCEEDED] == 90
    assert ended(found) == 97
    parts = bar(found, 100_000)
    assert [(one["status"], one["count"]) for one in parts] == [("SUCCEEDED", 90), ("FAILED", 7)]
    assert min(one["share"] for one in parts) >= 0.6
    assert bar_text(found, 100) == "100 things: 90 succeeded, 7 failed"
    assert bar_text({}, 1) == "1 thing: nothing told yet"
    assert abort_distance(JOB["abortConfig"], found) == ["7.22 % failed, stops at 10 %"]


@given(st.lists(st.dictionaries(st.integers(0, 99).map(str), st.integers(1, 99)), max_size=5))
def test_a_curve_rises_to_what_was_counted(pages: list[dict[str, int]]) -> None:
    """Buckets of all pages together are a curve that never falls and ends with their sum."""
    curve = cumulated(added(pages), 60, 6000)
    numbers = [number for _, number in curve]
    assert numbers == sorted(numbers)
    assert numbers[-1] == sum(sum(page.values()) for page in pages)
    assert [at for at, _ in curve] == sorted(at for at, _ in curve)


def test_moments_are_the_readers() -> None:
    """In the reader's zone, the day left out when it is today's; UTC for the hint; an unknown zone is UTC."""
    assert moment(1795380683, BERLIN, 1795380700) == "21:51:23"
    assert moment(1795380683, BERLIN, 1795480700) == "22 Nov 2026, 21:51:23"
    assert in_utc(1795380683) == "2026-11-22 20:51:23 UTC"
    assert zone_of("Europe/Berlin") == BERLIN
    for odd in ("Nowhere/Land", "../../etc/passwd", "", None, "\0"):
        assert zone_of(odd).key == "UTC"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (89, "89 s"),
        (240, "4 min"),
        (7500, "2 h 5 min"),
        (7200, "2 h"),
        (300_000, "3 days"),
    ],
)
def test_durations_in_words(seconds: float, said: str) -> None:
    """Two parts at most, in the unit that says it."""
    assert lasting(seconds) == said


def test_a_draft_becomes_the_command_and_comes_from_a_job() -> None:
    """What the form of a clone sends is a job of the same settings, and the API takes it."""
    draft = draft_of(JOB, DOCUMENT, BERLIN)
    made = draft.command(BERLIN)
    decode("jobs/create", made)
    for name in (
        "targets",
        "abortConfig",
        "jobExecutionsRetryConfig",
        "jobExecutionsRolloutConfig",
    ):
        assert made[name] == JOB[name]
    assert made["document"] == {"operation": "install"}
    assert Draft(targets=[ARN]).command(BERLIN) == {
        "targets": [ARN],
        "document": {"operation": "reboot"},
    }
    later = Draft(targets=[ARN], start="2027-07-01T10:00").command(BERLIN)
    assert later["schedulingConfig"] == {"startTime": "2027-07-01 08:00"}
    tagged = Draft(targets=[ARN], tags="team=pumps, site = x").command(BERLIN)
    assert tagged["tags"] == [{"Key": "team", "Value": "pumps"}, {"Key": "site", "Value": "x"}]
    filled = Draft(targets=[ARN], template="arn:x", parameters="a = 1\n\nb=c=d").command(BERLIN)
    assert filled["documentParameters"] == {"a": "1", "b": "c=d"}
    assert "document" not in filled


def test_a_clone_keeps_what_a_job_has_several_of() -> None:
    """Stages of every kind, all criteria, the schedule with its windows, and how its URLs are signed."""
    several: dict[str, Any] = {
        "targets": [ARN],
        "abortConfig": {
            "criteriaList": [
                {**JOB["abortConfig"]["criteriaList"][0], "failureType": kind}
                for kind in ("FAILED", "ALL")
            ]
        },
        "jobExecutionsRetryConfig": {
            "criteriaList": [
                {"failureType": "FAILED", "numberOfRetries": 1},
                {"failureType": "TIMED_OUT", "numberOfRetries": 3},
            ]
        },
        "jobExecutionsRolloutConfig": {
            "exponentialRate": {
                "baseRatePerMinute": 5,
                "incrementFactor": 1.5,
                "rateIncreaseCriteria": {"numberOfSucceededThings": 20},
            }
        },
        "schedulingConfig": {
            "startTime": "2027-07-01 08:00",
            "endTime": "2027-07-02 08:00",
            "endBehavior": "CANCEL",
            "maintenanceWindows": [
                {"startTime": "cron(30 2 ? * SUN *)", "durationInMinutes": 90},
                {"startTime": "cron(0 2 3W * ? 2027)", "durationInMinutes": 60},
            ],
        },
        "stages": [
            {"numberOfThings": 3, "successPercentage": 90, "soakMinutes": 5},
            {"thingGroupName": "roof", "successPercentage": 95, "errorPercentage": 2.5},
            {
                "attribute": {"name": "site", "value": "yard"},
                "successPercentage": 95,
                "numberOfFailures": 4,
                "errorAction": "CANCEL",
                "successAction": "PAUSE",
            },
            {"percentage": 50.0, "successPercentage": 95},
            {"successPercentage": 100},
        ],
        "presignedUrlConfig": {"expiresInSec": 900},
    }
    made = draft_of(several, DOCUMENT, BERLIN, {"team": "pumps"}).command(BERLIN)
    decode("jobs/create", made)
    assert {name: made[name] for name in several} == several
    assert made["tags"] == [{"Key": "team", "Value": "pumps"}]
    assert sentences(several)[0] == (
        "Begins on 2027-07-01 08:00, and tells things only in its windows (Sundays at 02:30 UTC for 90 min;"
        " cron(0 2 3W * ? 2027) for 60 min). On 2027-07-02 08:00 it cancels what is queued."
    )


def test_rows_that_cannot_be_are_refused() -> None:
    """A size or a time that is none is named."""
    for stage in (StageRow(size="many"), StageRow("attribute", "site")):
        with pytest.raises(DraftError, match=r"stages: '(many|site)' is no"):
            Draft(stages=[stage]).command(BERLIN)
    for at in ("24:00", "", "2"):
        with pytest.raises(DraftError, match=r"windows: .* is no time"):
            Draft(windows=[WindowRow(at=at)]).command(BERLIN)


def test_what_is_wrong_in_a_document_is_marked() -> None:
    """A mistake in the JSON, and a placeholder that is refused, are shown where they stand."""
    with pytest.raises(DraftError) as raised:
        Draft(document='{\n  "a": 1,\n}').command(BERLIN)
    assert raised.value.message.startswith("document: line 3, column 1")
    assert raised.value.where.splitlines()[-1] == "     | ^"
    document = '{\n  "a": "${thing:no}"\n}'
    found = placeholder_marked(document, "document.a: '${thing:no}': is not a placeholder")
    assert found.splitlines()[1:3] == ['   2 |   "a": "${thing:no}"', "     |         ^"]
    assert placeholder_marked(document, "targets: required") == ""
    assert placeholder_marked(document, "document: '${other}': is none") == ""
    for text in ("[]", "1"):
        with pytest.raises(DraftError, match="a JSON object is needed"):
            Draft(document=text).command(BERLIN)
    assert marked("", 1, 1) == "   1 | \n     | ^"


def test_every_command_has_a_request() -> None:
    """Each route's example goes where the table says, with its names in the path."""
    for route in ROUTES:
        names = dict.fromkeys(route.names, "a b")
        request = request_of(route.verb, {**route.example, **names})
        assert request.method == route.method
        assert "{" not in request.path
        if route.names:
            assert "a%20b" in request.path
        assert (request.body is None) == (route.method == "GET")
    asked = request_of("jobs/get", {"jobId": "j", "includeDocument": False, "status": None})
    assert dict(asked.query) == {"includeDocument": "false"}
    assert sent_as("jobs/cancel", {"jobId": "fw-7"}) == (
        "sends jobs/cancel: POST /api/v1/jobs/fw-7/cancel"
    )


def test_a_job_in_other_hands() -> None:
    """As curl, mosquitto_rr, our command line and boto3, quoted for the shell and for Python."""
    made = job_as_created(JOB, DOCUMENT, job_id="again")
    decode("jobs/create", made)
    words = shlex.split(as_curl("http://api", "jobs/create", made).replace("\\\n", " "))
    assert json.loads(words[words.index("-d") + 1]) == made
    words = shlex.split(as_mosquitto("ann", "jobs/create", made).replace("\\\n", " "))
    assert json.loads(words[words.index("-m") + 1]) == made
    words = shlex.split(as_cli(made).replace("\\\n", " ").replace("<(", "").replace("')", "'"))
    assert words[:3] == ["jobbroker", "jobs", "create"]
    assert words[words.index("--group") + 1] == "pumps"
    assert words[words.index("--description") + 1] == "It's new"
    compile(as_boto3("http://api", made), "boto3", "exec")


def test_links_keep_what_is_said() -> None:
    """What is empty is left out, names are quoted."""
    assert with_query("/", {"status": "", "search": "a&b"}) == "/?search=a%26b"
    assert execution_path("j", "T:1_-") == "/jobs/j/things/T%3A1_-"


def test_sign_ins_are_sealed() -> None:
    """A cookie opens with its own console's secret only, as it was made, until somebody signs out."""
    mine, other = Sessions("secret"), Sessions("another")
    cookie = mine.seal("token")
    assert "token" not in cookie
    session = mine.open(cookie)
    assert session is not None
    assert session.token == "token"
    restarted = Sessions("secret")
    assert restarted.open(cookie) == session
    for bad in (None, "", cookie[:-1], "x" * 5000, "\x80", other.seal("token")):
        assert mine.open(bad) is None
    mine.end(session)
    assert mine.open(cookie) is None
    assert mine.is_ended(session)


async def test_a_stream_is_read_as_browsers_read_it() -> None:
    """Data over several lines, ids without data, comments, kinds."""
    text = (
        ":hello\nretry: 1000\nid: 3\n\nid: 4\ndata: {\ndata: }\n\nevent: end\ndata:x\n\ndata: cut"
    )

    async def lines() -> AsyncIterator[str]:
        for line in text.split("\n"):
            yield line

    found = [one async for one in messages(lines())]
    assert found == [("message", "", "3"), ("message", "{\n}", "4"), ("end", "x", "4")]
