"""What The Things Stack's answers mean, row by row of reference/the-things-stack.md 5.1 to 5.6 and 10."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.things_stack_outcomes import (
    GONE,
    Outcome,
    Presence,
    Target,
    Verdict,
    has_devices,
    is_gone,
    judge,
    judge_denied,
    may_repeat,
    needs_admin,
    parse_error,
    rate_wait,
    read_probe,
    scrub,
    snippet_of,
)
from tests.unit.scripted_http import refusal

KEY = "NNSXS." + "A" * 39 + "." + "B" * 52
ROUTING = b'{"code":5,"message":"Not Found"}'


def answer(status: int, body: bytes = b"{}") -> Outcome:
    """An outcome as the transport makes it."""
    return Outcome("DELETE host/api/v3/x", status, parse_error(body))


# 5.4: what a missing thing answers, by target: (namespace, name).
MISSING = [
    (Target.IS_DEVICE, "pkg/identityserver/store", "end_device_not_found"),
    (Target.NS_DEVICE, "pkg/networkserver", "device_not_found"),
    (Target.NS_DEVICE, "pkg/redis", "not_found"),
    (Target.AS_DEVICE, "pkg/applicationserver", "device_not_found"),
    (Target.AS_DEVICE, "pkg/redis", "not_found"),
    (Target.JS_DEVICE, "pkg/joinserver", "device_not_found"),
    (Target.API_KEY, "pkg/identityserver/store", "api_key_not_found"),
    (Target.AS_STATE, "pkg/redis", "not_found"),
    (Target.APPLICATION, "pkg/identityserver/store", "application_not_found"),
    (Target.ORGANIZATION, "pkg/identityserver/store", "organization_not_found"),
    (Target.PURGE, "pkg/identityserver/store", "entity_not_found"),
]


@pytest.mark.parametrize(("target", "namespace", "name"), MISSING)
def test_a_missing_thing_is_gone_by_its_name(target: Target, namespace: str, name: str) -> None:
    """The names of 5.4, with code 5 and status 404; the same name with another status is not."""
    body = refusal(name, 5, namespace=namespace)
    assert judge(answer(404, body), target) is Verdict.GONE
    for status in (200, 400, 401, 403, 409, 500):
        assert not is_gone(answer(status, body), target)


def test_every_name_of_the_whitelist_is_in_the_table() -> None:
    """No target takes a name that the reference does not list."""
    listed = {(target, name) for target, _, name in MISSING}
    listed |= {(Target.JS_DEVICE, "not_found")}
    found = {(target, name) for target, names in GONE.items() for name, _ in names}
    assert found == listed


@pytest.mark.parametrize("target", list(Target))
@pytest.mark.parametrize(
    "body",
    [
        ROUTING,
        b"<html>404</html>",
        b"",
        b"[]",
        b'{"code":5,"message":"Not Found","details":[]}',
        b'{"code":5,"details":{"name":"end_device_not_found"}}',
        refusal("route_not_found", 5, namespace="pkg/webhandlers"),
        refusal("not_found", 5, namespace="pkg/elsewhere"),
        refusal("api_key_not_found", 16, namespace="pkg/identityserver"),
    ],
)
def test_no_other_404_means_gone(target: Target, body: bytes) -> None:
    """Routing errors, HTML, other namespaces, and api_key_not_found with code 16, which is one's own key."""
    assert not is_gone(answer(404, body), target)
    assert judge(answer(404, body), target) is Verdict.WRONG


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (Target.NS_DEVICE, "end_device_not_found"),
        (Target.IS_DEVICE, "device_not_found"),
        (Target.IS_DEVICE, "application_not_found"),
        (Target.NS_DEVICE, "application_not_found"),
        (Target.APPLICATION, "organization_not_found"),
        (Target.APPLICATION, "entity_not_found"),
    ],
)
def test_a_name_of_another_thing_is_not_gone(target: Target, name: str) -> None:
    """An application that is missing says nothing about a device on a regional server, and so on."""
    assert judge(answer(404, refusal(name, 5)), target) is Verdict.WRONG


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (200, b"{}", Verdict.DONE),
        (400, refusal("token", 3, namespace="pkg/auth"), Verdict.UNAUTHENTICATED),
        (400, refusal("application_has_devices", 9), Verdict.WRONG),
        (400, refusal("validation", 3, namespace="pkg/errors"), Verdict.WRONG),
        (401, refusal("api_key_not_found", 16), Verdict.UNAUTHENTICATED),
        (401, refusal("invalid_authorization", 16), Verdict.UNAUTHENTICATED),
        (401, refusal("api_key_expired", 16), Verdict.UNAUTHENTICATED),
        (401, refusal("unauthenticated", 16), Verdict.UNAUTHENTICATED),
        (401, b"", Verdict.UNAUTHENTICATED),
        (403, refusal("no_application_rights", 7), Verdict.DENIED),
        (403, refusal("insufficient_application_rights", 7), Verdict.DENIED),
        (403, refusal("user_suspended", 7), Verdict.DENIED),
        (409, refusal("id_taken", 6), Verdict.CONFLICT),
        (409, refusal("end_device_euis_taken", 6), Verdict.CONFLICT),
        (409, refusal("claiming_not_supported", 10), Verdict.CONFLICT),
        (409, refusal("transaction_failed", 10), Verdict.AWAY),
        (429, refusal("rate_limit_exceeded", 8), Verdict.AWAY),
        (499, b"", Verdict.AWAY),
        (500, b"", Verdict.AWAY),
        (501, b'{"code":12,"message":"Method Not Allowed"}', Verdict.WRONG),
        (502, b"<html>", Verdict.AWAY),
        (503, b"<html>", Verdict.AWAY),
        (504, b"", Verdict.AWAY),
        (302, b"", Verdict.WRONG),
    ],
)
def test_each_status_has_its_verdict(status: int, body: bytes, verdict: Verdict) -> None:
    """5.2, 5.3, 5.5: two kinds of 409, FailedPrecondition as 400, a malformed key as 400."""
    assert judge(answer(status, body), Target.IS_DEVICE) is verdict


def test_a_success_that_cannot_be_read_is_no_success() -> None:
    """A 200 with HTML in it, say of a captive proxy, is not taken for done."""
    unread = Outcome("GET x", 200, failure="the answer is no JSON object")
    assert judge(unread, Target.IS_DEVICE) is Verdict.WRONG
    assert read_probe(unread) is Presence.UNKNOWN


@pytest.mark.parametrize(
    ("outcome", "repeatable", "unsure"),
    [
        (answer(429), True, True),
        (answer(409, refusal("transaction_failed", 10)), True, True),
        (Outcome("x", failure="ConnectError", unsent=True), True, True),
        (Outcome("x", failure="ReadTimeout"), True, False),
        (answer(503), True, False),
        (answer(504), True, False),
        (answer(499), True, False),
        (answer(500), True, False),
        (answer(502), True, False),
        (answer(200), False, False),
        (answer(400), False, False),
        (answer(401), False, False),
        (answer(403), False, False),
        (answer(404), False, False),
        (answer(409, refusal("id_taken", 6)), False, False),
        (answer(501), False, False),
    ],
)
def test_what_is_asked_again(outcome: Outcome, *, repeatable: bool, unsure: bool) -> None:
    """5.3; what is not repeatable is asked again only where nothing can have happened."""
    assert may_repeat(outcome, repeatable=True) is repeatable
    assert may_repeat(outcome, repeatable=False) is unsure


def test_a_403_is_gone_only_when_the_probe_finds_nothing() -> None:
    """5.5: no rights and no application is gone; no rights on one that exists, or on who knows what, is denied."""
    absent = answer(404, refusal("application_not_found", 5))
    assert read_probe(absent) is Presence.ABSENT
    assert read_probe(answer(200)) is Presence.PRESENT
    deleted = Outcome("GET x", 200, body={"deleted_at": "2026-01-01T00:00:00Z"})
    assert read_probe(deleted) is Presence.ABSENT
    for unsure in (answer(404, ROUTING), answer(401), answer(403), answer(503)):
        assert read_probe(unsure) is Presence.UNKNOWN
    no_rights = answer(403, refusal("no_application_rights", 7))
    assert judge_denied(no_rights, Presence.ABSENT) is Verdict.GONE
    assert judge_denied(no_rights, Presence.PRESENT) is Verdict.DENIED
    assert judge_denied(no_rights, Presence.UNKNOWN) is Verdict.DENIED
    lacking = answer(403, refusal("insufficient_application_rights", 7))
    assert judge_denied(lacking, Presence.ABSENT) is Verdict.DENIED


def test_what_only_single_calls_say() -> None:
    """Applications with devices, purges for admins alone."""
    assert has_devices(answer(400, refusal("application_has_devices", 9)))
    assert needs_admin(answer(403, refusal("admins_purge_applications", 7)))
    assert needs_admin(answer(403, refusal("admins_purge_organizations", 7)))
    assert not needs_admin(answer(403, refusal("no_application_rights", 7)))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 1),
        ({"x-rate-limit-retry": "0"}, 1),
        ({"x-rate-limit-retry": "7"}, 7),
        ({"retry-after": "3"}, 3),
        ({"x-rate-limit-retry": "0", "retry-after": "30"}, 30),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 1),
        ({"x-rate-limit-retry": "-5"}, 1),
        ({"x-rate-limit-retry": "\u0663"}, 1),
    ],
)
def test_how_long_a_rate_limit_is_waited_for(headers: dict[str, str], seconds: float) -> None:
    """5.3: whole seconds, cut off, so 0 means up to one; proxies have a header of their own."""
    assert rate_wait(headers) == seconds


def test_a_snippet_has_no_key_and_400_characters() -> None:
    """Keys go before the text is cut, whole or broken off, and U+0000 goes since no row can hold it."""
    long = "x" * 380 + KEY
    shown = snippet_of(refusal("token", 3, message=f"{long} Bearer abc"))
    assert shown is not None
    assert len(shown) == 400
    assert "NNSXS" not in shown
    assert "token [" in shown
    assert snippet_of(b"a\0b") == "ab"
    assert snippet_of(b"") is None
    assert scrub(f"Authorization: Bearer {KEY[:60]}, and secret-1", ("secret-1",)) == (
        "Authorization: Bearer [key], and [key]"
    )


@given(st.binary(max_size=200))
def test_any_body_is_read(content: bytes) -> None:
    """Whatever a proxy sends: no exception, and nothing is gone by it."""
    outcome = answer(404, content)
    assert not any(is_gone(outcome, target) for target in Target)
    shown = snippet_of(content)
    assert shown is None or len(shown) <= 400


def test_details_with_gaps_are_read() -> None:
    """5.1: attributes, cause, correlation_id, details may be missing."""
    error = parse_error(b' {"code": 5,  "details": [null, {"name": "device_not_found"}]}')
    assert (error.name, error.namespace, error.code) == ("device_not_found", "", 5)
    assert error.correlation_id is None
    assert error.attributes == {}


@pytest.mark.parametrize("name", [KEY, "device_not_found\0", "", "x" * 101, "Not Found"])
def test_a_name_that_is_none_is_not_written_down(name: str) -> None:
    """An error's name goes into rows and answers as it is: one with a key, U+0000 or a page's words counts as none."""
    detail = {"name": name, "namespace": "pkg/redis", "correlation_id": name}
    found = answer(404, json.dumps({"code": 5, "details": [detail]}).encode())
    assert (found.error.name, found.error.correlation_id) == ("", None)
    assert not any(is_gone(found, target) for target in Target)
    known = json.dumps({"code": 5, "details": [{**detail, "name": "device_not_found"}]}).encode()
    assert parse_error(known).name == "device_not_found"
