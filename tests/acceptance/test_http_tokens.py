"""Tokens over HTTP as a process meets them: ours, an issuer's and wrong ones, and none of them in a log."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import httpx

from handlers.database import Pool
from tests.acceptance.http_site import http_site
from tests.conftest import Database, StartMosquitto
from tests.console.browser import running_console
from tests.fake_issuer import AUDIENCE, fake_issuer
from tests.helpers import PATIENCE
from tests.integration.operator_desk import Desk, aws_job


async def test_tokens_are_good_for_what_they_say_and_stand_in_no_log(
    mosquitto_server: StartMosquitto, database: Database, pool: Pool, tmp_path: Path
) -> None:
    """An issuer's manager creates a job and is named in the audit log; at level debug no line has part of a token."""
    desk = Desk(pool)
    bob = await desk.accepted("operators/create", {"operatorName": "bob", "role": "owner"})
    thing = await desk.accepted("things/create", {"thingName": "t1", "issueToken": True})
    async with (
        fake_issuer() as issuer,
        http_site(
            mosquitto_server,
            database,
            tmp_path,
            JOBBROKER_LOG_LEVEL="debug",
            JOBBROKER_OIDC_ISSUER=issuer.url,
            JOBBROKER_OIDC_AUDIENCE=AUDIENCE,
            JOBBROKER_METRICS_TOKEN="of-the-metrics-alone",
        ) as served,
        httpx.AsyncClient(base_url=served.url, timeout=PATIENCE) as http,
    ):
        sent = ["of-the-metrics-alone"]
        said: list[str] = []

        async def ask(
            token: str,
            path: str = "/api/v1/jobs",
            *,
            header: str = "Authorization",
            body: object = None,
        ) -> tuple[int, Any]:
            shown = f"Bearer {token}" if header == "Authorization" else token
            sent.append(token)
            method = "GET" if body is None else "POST"
            answer = await http.request(method, path, headers={header: shown}, json=body)
            said.append(answer.text + repr(answer.headers))
            return answer.status_code, answer.json() if path != "/metrics" else None

        eve = issuer.token("k1")
        status, _ = await ask(eve, body=aws_job("t1", jobId="j1"))
        assert status == 201
        assert (await ask(eve, "/api/v1/whoami"))[1]["operatorName"] == "oidc/eve"
        assert (await ask(eve, "/api/v1/audit"))[0] == 403, "a manager is no admin"
        _, log = await ask(issuer.token("k1", roles=["admin"]), "/api/v1/audit?subject=job/j1")
        assert [(one["actor"], one["role"]) for one in log["lines"]] == [("oidc/eve", "manager")]
        assert (await ask(bob["token"]))[0] == 200
        made = await desk.accepted("tokens/create", {"operatorName": "bob"})
        assert (await ask(made["token"]))[0] == 200
        assert (await ask("of-the-metrics-alone", "/metrics"))[0] == 200
        device = "/device/v1/jobs/pending"
        assert (await ask(thing["token"], device, header="X-Provision-Token"))[0] == 200
        for wrong in (
            secrets.token_urlsafe(32),
            bob["token"][:-1],
            f"{made['token']}x",
            thing["token"],
            issuer.token("k1", exp=1),
            issuer.token("k1", aud="another"),
            issuer.token("k1", key=issuer.private["k1"], iss="https://example.net"),
            f"{eve[:-6]}AAAAAA",
            f"{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(16)}",
            "x" * 9000,
        ):
            assert (await ask(wrong))[0] == 401, wrong
        assert (await ask(secrets.token_urlsafe(32), "/metrics"))[0] == 401
        assert (await ask(bob["token"], device, header="X-Provision-Token"))[0] == 401
        await issuer.stop()
        assert (await ask(eve))[0] == 200, "its key is known"
        issuer.add_key("k2")
        # Not known, if the issuer was asked a moment ago; else it is away.
        assert (await ask(issuer.token("k2")))[0] in (401, 503)
        await served.broker.stop()
        written = served.broker.text()
        assert "http" in written
        for token in sent:
            for part in {token, *token.split(".")[1:], token[:24]}:
                assert len(part) < 12 or part not in written
                assert len(part) < 12 or not [one for one in said if part in one]


async def test_one_signs_in_at_the_issuer_by_redirect(
    mosquitto_server: StartMosquitto, database: Database, tmp_path: Path
) -> None:
    """The console sends a browser to the issuer and takes it back once; who was not sent stays outside."""
    async with (
        fake_issuer() as issuer,
        http_site(
            mosquitto_server,
            database,
            tmp_path,
            JOBBROKER_OIDC_ISSUER=issuer.url,
            JOBBROKER_OIDC_AUDIENCE="console",
        ) as served,
        running_console(
            served.url,
            tmp_path / "console.log",
            JOBBROKER_CONSOLE_OIDC_ISSUER=issuer.url,
            JOBBROKER_CONSOLE_OIDC_CLIENT_ID="console",
            JOBBROKER_CONSOLE_OIDC_CLIENT_SECRET=issuer.client_secret,
        ) as console,
        httpx.AsyncClient(base_url=console.url, timeout=PATIENCE) as browser,
        httpx.AsyncClient(base_url=console.url, timeout=PATIENCE) as stranger,
    ):
        door = await browser.get("/jobs/j1", follow_redirects=True)
        assert "/sign-in/issuer?next=%2Fsystem" in (await browser.get("/sign-in?next=/system")).text
        assert "Sign in at 127.0.0.1" in door.text
        sent = await browser.get("/sign-in/issuer", params={"next": "/system"})
        cookie = sent.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        back = (await browser.get(sent.headers["location"])).headers["location"]
        wrong = await stranger.get(back)
        assert wrong.status_code == 400, "without the cookie"
        forged = back.replace("state=", "state=x")
        assert (await browser.get(forged)).status_code == 401
        assert (await browser.get(back)).status_code == 400, "the forged one has ended this one"
        for problem in ({"nonce": "another"}, {"aud": "another"}, {"exp": 1}, {"azp": "another"}):
            issuer.says = dict(problem)
            refused = await browser.get("/sign-in/issuer", follow_redirects=True)
            assert refused.status_code == 401, problem
            assert "jobbroker_console" not in browser.cookies
        issuer.says = {}
        shown = await browser.get("/sign-in/issuer?next=/system", follow_redirects=True)
        assert shown.url.path == "/system"
        assert shown.status_code == 200
        assert "oidc/eve" in shown.text
        assert "jobbroker_console" in browser.cookies
        issuer.says = {"roles": []}
        outside = await stranger.get("/sign-in/issuer", follow_redirects=True)
        assert outside.status_code == 403
        assert "claim roles" in outside.text
        await issuer.stop()
        away = await stranger.get("/sign-in/issuer", follow_redirects=True)
        assert away.status_code == 503
        assert "cannot be reached" in away.text
