"""What is drawn of a job: read once for all who look, and again a part at a time."""

from __future__ import annotations

import time
from typing import Any

import pytest

from broker.console import picture as module
from broker.console.picture import Picture, Pictures

LETTERS = {"Q": "QUEUED", "S": "SUCCEEDED"}


class Job:
    """A job whose things are shown in parts of three, as jobs/progress does; counts what is asked."""

    def __init__(self, things: dict[str, str]) -> None:
        """Take a letter for each thing."""
        self.things = things
        self.created = time.time() - 600
        self.asked: list[str | None] = []

    async def call(self, verb: str, **given: object) -> dict[str, Any]:
        """Answer one page."""
        assert verb == "jobs/progress"
        token = given["nextToken"]
        assert token is None or isinstance(token, str)
        self.asked.append(token)
        names = sorted(name for name in self.things if name > (token or ""))[:3]
        letters = "".join(self.things[name] for name in names)
        body: dict[str, Any] = {"statuses": letters, "letters": LETTERS}
        if given.get("bucketSeconds"):
            body |= {"queued": {"0": len(names)}, "ended": {"1": letters.count("S")}}
        if given.get("includeNames"):
            body["things"] = names
        return body | ({"nextToken": names[-1]} if len(names) == 3 else {})

    def shown(self) -> dict[str, Any]:
        """The job as jobs/get has it."""
        done = [*self.things.values()].count("S")
        details = {"numberOfSucceededThings": done, "numberOfQueuedThings": len(self.things) - done}
        return {"createdAt": self.created, "jobProcessDetails": details}


class Canvas:
    """Draws what it is told into a string."""

    def __init__(self, picture: Picture) -> None:
        """Draw what is there."""
        self.picture = picture
        self.drawn = picture.letters
        self.patches = 0

    def patched(self, start: int, letters: str) -> None:
        """Some cells."""
        self.patches += 1
        self.drawn = self.drawn[:start] + letters + self.drawn[start + len(letters) :]

    def changed(self) -> None:
        """All cells."""
        self.drawn = self.picture.letters


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Job:
    """Eight things; a step reads one part, and needs no rest."""
    monkeypatch.setattr(module, "_STEP_SECONDS", -1.0)
    monkeypatch.setattr(module, "_REST", 0)
    monkeypatch.setattr(module, "_TURN_SECONDS", 0)
    return Job({f"t{number}": "Q" for number in range(8)})


async def test_all_is_read_at_first_and_then_a_part_at_a_time(job: Job) -> None:
    """Nothing is read while nothing changes; after a change each part is read once, one a step."""
    picture = Picture("j1")
    canvas = Canvas(picture)
    picture.watchers.append(canvas)
    await picture.step(job.call, job.shown())
    assert picture.is_whole
    assert canvas.drawn == picture.letters == "QQQQQQQQ"
    assert job.asked == [None, "t2", "t5"]
    await picture.step(job.call, job.shown())
    assert len(job.asked) == 3
    job.things["t4"] = "S"
    for number in range(1, 6):
        await picture.step(job.call, job.shown())
        assert len(job.asked) == 3 + min(number, 3)
    assert canvas.drawn == "QQQQSQQQ"
    assert canvas.patches == 4


async def test_things_that_come_later_move_the_parts(job: Job) -> None:
    """New names in the middle shift what comes behind them; after a round all is where it belongs."""
    picture = Picture("j1")
    canvas = Canvas(picture)
    picture.watchers.append(canvas)
    await picture.step(job.call, job.shown())
    job.things |= {"t10": "S", "t11": "S", "t9": "S", "t91": "S"}
    for _ in range(8):
        await picture.step(job.call, job.shown())
    assert canvas.drawn == picture.letters == "QQSSQQQQQQSS"
    assert await picture.name_of(job.call, 2) == "t10"
    assert await picture.name_of(job.call, 11) == "t91"
    assert await picture.name_of(job.call, 12) is None
    for name in ("t10", "t11", "t91"):
        del job.things[name]
    for _ in range(8):
        await picture.step(job.call, job.shown())
    assert canvas.drawn == picture.letters == "QQQQQQQQS"


async def test_the_curves_go_on_by_the_counts(job: Job) -> None:
    """What was before the first look comes from the buckets, what comes later from the job's counts."""
    job.things["t0"] = "S"
    picture = Picture("j1")
    await picture.step(job.call, job.shown())
    job.things["t1"] = "S"
    await picture.step(job.call, job.shown())
    told, over = picture.curves(until=700)
    assert [*told[0]] == [0, 0]
    assert [*told[-1]] == [700, 8]
    assert [number for _, number in over][-3:] == [1, 2, 2]
    assert over == sorted(over)


async def test_a_picture_is_shared_and_forgotten_with_its_last_page(job: Job) -> None:
    """Pages of one job in one tenant have one picture; another tenant's job of the same name is another."""
    pictures = Pictures()
    nobody = Canvas(Picture("j1"))
    first, leave_first = pictures.join("a", "j1", nobody)
    second, leave_second = pictures.join("a", "j1", Canvas(first))
    other, _ = pictures.join("b", "j1", nobody)
    assert first is second
    assert other is not first
    leave_first()
    assert pictures.join("a", "j1", nobody)[0] is first
    leave_first()
    leave_second()
    assert pictures.join("a", "j1", nobody)[0] is not first
