"""Approvals: who may give them, how they are counted, and what ends them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.approval import (
    ApprovalConfig,
    Asked,
    Standing,
    State,
    Voice,
    Vote,
    check_vote,
    check_voter,
    required,
    standing,
)
from schema.errors import Code, Rejected
from schema.rights import Role
from tests.unit.configs import told

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
ASKED = Asked("mia", Role.MANAGER, 2, NOW)
A, D = Voice.APPROVE, Voice.DENY


def config(approvals: int) -> ApprovalConfig:
    """A configuration with so many required approvals."""
    return ApprovalConfig.model_validate({"requiredApprovals": approvals})


def vote(name: str, voice: Voice = A, *, role: Role = Role.ADMIN, minute: int = 1) -> Vote:
    """An admin's word, a minute after the job was made."""
    return Vote(name, role, voice, NOW + timedelta(minutes=minute))


@pytest.mark.parametrize(
    ("asked", "usual", "needed"),
    [(None, None, 0), (None, 2, 2), (3, 2, 3), (2, 2, 2), (1, None, 1), (0, 0, 0)],
)
def test_how_many(asked: int | None, usual: int | None, needed: int) -> None:
    """A job needs what it asks for, or else the tenant's default."""
    asks = None if asked is None else config(asked)
    assert required(asks, None if usual is None else config(usual)) == needed


def test_not_fewer_than_the_tenant_wants() -> None:
    """A job cannot waive what its tenant wants."""
    with pytest.raises(Rejected, match="requiredApprovals: is 1, at least 2 are needed") as caught:
        required(config(1), config(2))
    assert caught.value.code is Code.INVALID_REQUEST


@pytest.mark.parametrize("sent", [-1, 11, 1.5, True, "2"])
def test_refused_numbers(sent: object) -> None:
    """From 0 to 10 approvals may be asked for."""
    refusal = told(ApprovalConfig, {"requiredApprovals": sent})
    assert refusal.startswith(f"requiredApprovals: {sent!r}: ")


@pytest.mark.parametrize(
    ("votes", "state", "reason"),
    [
        ([], State.PENDING, "0 of 2 approvals"),
        ([vote("ann")], State.PENDING, "1 of 2 approvals by ann"),
        ([vote("ann"), vote("bob")], State.APPROVED, "2 of 2 approvals by ann, bob"),
        (
            [vote("ann"), vote("oto", role=Role.OWNER)],
            State.APPROVED,
            "2 of 2 approvals by ann, oto",
        ),
        ([vote("ann"), vote("ann")], State.PENDING, "1 of 2 approvals by ann"),
        ([vote("ann"), vote("ann", D)], State.DENIED, "denied by ann"),
        ([vote("ann", D), vote("bob"), vote("cid")], State.DENIED, "denied by ann"),
        (
            [vote("ann"), vote("bob"), vote("cid", D)],
            State.APPROVED,
            "2 of 2 approvals by ann, bob",
        ),
        ([vote("ann", minute=-1), vote("bob")], State.PENDING, "1 of 2 approvals by bob"),
        ([vote("ann", D, minute=-1)], State.PENDING, "0 of 2 approvals"),
        ([vote("mia"), vote("bob")], State.PENDING, "1 of 2 approvals by bob"),
        ([vote("max", role=Role.MANAGER)], State.PENDING, "0 of 2 approvals"),
        ([vote("vic", D, role=Role.VIEWER)], State.PENDING, "0 of 2 approvals"),
    ],
)
def test_standing(votes: list[Vote], state: State, reason: str) -> None:
    """Operators count once each; a denial ends it; votes that are void or before a change do not count."""
    found = standing(ASKED, votes)
    assert (found.state, found.reason) == (state, reason)


def test_none_needed() -> None:
    """A job that needs no approval has it."""
    assert standing(ASKED._replace(required=0), []).state is State.APPROVED


def test_a_denial_says_why() -> None:
    """The comment of who denied becomes the reason."""
    denied = vote("ann", D)._replace(comment="not on a Friday")
    assert standing(ASKED, [denied]).reason == "denied by ann: not on a Friday"


@pytest.mark.parametrize(
    ("creator", "voter", "says"),
    [
        (("mia", Role.MANAGER), ("mia", Role.ADMIN), "mia has created the job; .* owner or admin$"),
        (("mia", Role.MANAGER), ("max", Role.MANAGER), "your role, manager, is its creator's"),
        (("mia", Role.MANAGER), ("vic", Role.VIEWER), "your role is viewer; .* owner or admin$"),
        (("oto", Role.OWNER), ("oda", Role.OWNER), "owner, is its creator's; .* admin or manager$"),
        (("oto", Role.OWNER), ("vic", Role.VIEWER), "your role is viewer; .* admin or manager$"),
    ],
)
def test_who_may_not(creator: tuple[str, Role], voter: tuple[str, Role], says: str) -> None:
    """Neither the creator under whatever role, nor the creator's peers, nor who may only read."""
    with pytest.raises(Rejected, match=says) as caught:
        check_vote(Asked(*creator, 1, NOW), [], vote(voter[0], role=voter[1]))
    assert caught.value.code is Code.UNAUTHORIZED


@pytest.mark.parametrize(
    ("creator", "voter"),
    [
        (Role.MANAGER, Role.ADMIN),
        (Role.MANAGER, Role.OWNER),
        (Role.ADMIN, Role.MANAGER),
        (Role.OWNER, Role.MANAGER),
        (Role.OWNER, Role.ADMIN),
    ],
)
def test_who_may(creator: Role, voter: Role) -> None:
    """Another role, above or below, as long as it may create jobs itself."""
    check_voter(Asked("one", creator, 1, NOW), "two", voter)


def test_a_vote_moves_the_standing() -> None:
    """The second approval of two approves; a denial after a first approval denies."""
    assert check_vote(ASKED, [], vote("ann")).state is State.PENDING
    assert check_vote(ASKED, [vote("ann")], vote("bob")) == Standing(
        State.APPROVED, ("ann", "bob"), "2 of 2 approvals by ann, bob"
    )
    assert check_vote(ASKED, [vote("ann")], vote("ann", D)).state is State.DENIED


def test_approving_twice() -> None:
    """A second approval by the same operator changes nothing and is told so."""
    with pytest.raises(Rejected, match="ann has approved already") as caught:
        check_vote(ASKED, [vote("ann")], vote("ann"))
    assert caught.value.code is Code.RESOURCE_ALREADY_EXISTS


def test_a_change_asks_again() -> None:
    """After a change of the job who has approved may, and must, approve again."""
    changed = ASKED._replace(since=NOW + timedelta(minutes=5))
    assert check_vote(changed, [vote("ann")], vote("ann", minute=6)).approved_by == ("ann",)


@pytest.mark.parametrize(
    "votes", [[vote("ann"), vote("bob")], [vote("ann", D)]], ids=["approved", "denied"]
)
@pytest.mark.parametrize("voice", Voice)
def test_decided_is_decided(votes: list[Vote], voice: Voice) -> None:
    """Nobody votes on a job that is approved or denied."""
    with pytest.raises(Rejected, match=r"the job's is (APPROVED|DENIED) already") as caught:
        check_vote(ASKED, votes, vote("cid", voice))
    assert caught.value.code is Code.INVALID_STATE_TRANSITION


@given(
    needed=st.integers(1, 4),
    cast=st.lists(
        st.tuples(st.sampled_from("abcm"), st.sampled_from(Role), st.sampled_from(Voice)),
        max_size=12,
    ),
)
def test_votes_taken_one_by_one(needed: int, cast: list[tuple[str, Role, Voice]]) -> None:
    """Whatever is voted: approved means so many others of another role said so, and nobody denied before."""
    asked, votes = Asked("m", Role.ADMIN, needed, NOW), list[Vote]()
    for minute, (name, role, voice) in enumerate(cast):
        try:
            check_vote(asked, votes, new := vote(name, voice, role=role, minute=minute))
        except Rejected:
            continue
        votes.append(new)
    said_yes = {one.operator_name for one in votes if one.voice is A}
    found = standing(asked, votes)
    assert "m" not in said_yes
    assert {one.role for one in votes} <= {Role.OWNER, Role.MANAGER}
    assert (found.state is State.DENIED) is any(one.voice is D for one in votes)
    assert (found.state is State.APPROVED) is (
        len(said_yes) == needed and found.state is not State.DENIED
    )
