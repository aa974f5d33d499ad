"""Spliced histories consist of real days of the user's own fold, and leave all other users unchanged."""

from __future__ import annotations

import numpy as np
import pytest

from shift_assets.contracts.shift import DONORS
from shift_assets.interest.histories import Histories
from shift_assets.shift.learned.splices import (
    CONSTRUCTIONS,
    GIFT_DAYS,
    MINIMUM_DISTANCE,
    UNSPLICED,
    Cases,
    Construction,
    SplicePoints,
    construct,
    draw_splice_points,
)
from shift_assets_tests.shift.stationary_users import stationary_users

ACTIVE_DAYS = 8


@pytest.fixture(scope="module")
def log() -> Histories:
    return stationary_users(60, seed=1, tastes=30)


@pytest.fixture(scope="module")
def splice_points(log: Histories) -> SplicePoints:
    return draw_splice_points(log, ACTIVE_DAYS, seed=1, folds=2)


def days_of(histories: Histories, user: int) -> dict[int, dict[int, float]]:
    """Category scores by day of one user."""
    user_days = histories.user_days
    return {
        int(user_days.day[entry]): dict(
            zip(
                user_days.category[user_days.score_start[entry] : user_days.score_start[entry + 1]].tolist(),
                user_days.score[user_days.score_start[entry] : user_days.score_start[entry + 1]].tolist(),
                strict=True,
            )
        )
        for entry in range(user_days.start[user], user_days.start[user + 1])
    }


def test_a_splice_point_has_enough_active_days_on_both_sides(log: Histories, splice_points: SplicePoints) -> None:
    """Nobody else is under test."""
    for user, day in zip(splice_points.user, splice_points.day, strict=True):
        days = log.user_days.day[log.user_days.start[user] : log.user_days.start[user + 1]]
        assert (days < day).sum() >= ACTIVE_DAYS
        assert (days >= day).sum() >= ACTIVE_DAYS
    assert set(splice_points.user) == set(np.flatnonzero(log.user_days.n_days >= 2 * ACTIVE_DAYS))


@pytest.mark.parametrize("donor", DONORS)
def test_a_splice_is_one_user_before_the_splice_point_and_another_from_it_on(
    log: Histories, splice_points: SplicePoints, donor: str
) -> None:
    """Every day remains on its own calendar day, with its own scores."""
    cases = construct(log, splice_points, Construction(donor), seed=3)  # type: ignore[arg-type]
    assert len(cases.user)
    for user, other, splice_point in zip(cases.user, cases.donor, cases.day, strict=True):
        assert user != other
        before = {day: scores for day, scores in days_of(log, user).items() if day < splice_point}
        after = {day: scores for day, scores in days_of(log, other).items() if day >= splice_point}
        assert len(after) >= ACTIVE_DAYS
        assert days_of(cases.histories, user) == before | after


def test_a_partial_shift_holds_days_of_both_users_only(log: Histories, splice_points: SplicePoints) -> None:
    """Before the splice point nothing changes; from it on every day is A's, the donor's, or both added."""
    cases = construct(log, splice_points, Construction("random", 0.4), seed=3)
    remaining = possible = 0
    for user, other, splice_point in zip(cases.user, cases.donor, cases.day, strict=True):
        own, given, made = days_of(log, user), days_of(log, other), days_of(cases.histories, user)
        assert {d: s for d, s in made.items() if d < splice_point} == {d: s for d, s in own.items() if d < splice_point}
        for day, scores in made.items():
            if day >= splice_point:
                mine, theirs = own.get(day, {}), given.get(day, {})
                both = {c: mine.get(c, 0) + theirs.get(c, 0) for c in {*mine, *theirs}}
                assert scores in (mine, theirs, both)
        own_only = [day for day in own if day >= splice_point and day not in given]
        possible += len(own_only)
        remaining += sum(day in made for day in own_only)
    assert 0.3 < remaining / possible < 0.5


@pytest.mark.parametrize("construction", CONSTRUCTIONS, ids=lambda c: f"{c.kind}-{c.kept}")
def test_donors_come_from_the_users_own_fold_and_the_surroundings_stay(
    log: Histories, splice_points: SplicePoints, construction: Construction
) -> None:
    """No day of one fold is in a history of another, so a model of one can be evaluated on the other."""
    cases = construct(log, splice_points, construction, seed=5)
    fold = dict(zip(splice_points.user.tolist(), splice_points.fold.tolist(), strict=True))
    for user, donor, own in zip(cases.user.tolist(), cases.donor.tolist(), cases.fold.tolist(), strict=True):
        assert fold[user] == own
        assert donor == -1 or fold[donor] == own
    for user in set(range(len(log.users))) - set(cases.user.tolist()):
        assert days_of(cases.histories, user) == days_of(log, user)
    assert (cases.histories.user_days.day[cases.entry] >= cases.day).all()


def test_permutation_nulls_keep_the_users_calendar_and_days(log: Histories, splice_points: SplicePoints) -> None:
    """The same days in another order, and the user's own only."""
    for kind in ("odd_even", "shuffled"):
        cases = construct(log, splice_points, Construction(kind, 1.0), seed=7)
        for user in cases.user:
            own, made = days_of(log, user), days_of(cases.histories, user)
            assert own.keys() == made.keys()
            key = lambda scores: sorted(scores.items())  # noqa: E731
            assert sorted(map(key, own.values())) == sorted(map(key, made.values()))
            if kind == "odd_even":
                assert list(made.values()) == list(own.values())[::2] + list(own.values())[1::2]


def test_a_gift_changes_its_days_only(log: Histories, splice_points: SplicePoints) -> None:
    """The first active days from the splice point on, their content and not their date, into what the donor did."""
    cases = construct(log, splice_points, Construction("gift", 1.0), seed=7)
    n_changed = 0
    for user, donor, splice_point in zip(cases.user, cases.donor, cases.day, strict=True):
        own, made = days_of(log, user), days_of(cases.histories, user)
        assert own.keys() == made.keys()
        gift = [day for day in own if day >= splice_point][:GIFT_DAYS]
        of_donor = [scores for day, scores in days_of(log, donor).items() if day >= splice_point][:GIFT_DAYS]
        assert [made[day] for day in gift] == of_donor
        changed = {day for day in own if own[day] != made[day]}
        assert changed <= set(gift)
        n_changed += len(changed)
    assert n_changed > len(cases.user)


def test_the_nearest_profile_is_near_but_different(log: Histories, splice_points: SplicePoints) -> None:
    """No donor is nearer than the minimum distance; on average it is nearer than at random."""
    near, random = (construct(log, splice_points, Construction(kind), seed=9) for kind in ("nearest_profile", "random"))
    assert near.donor_distance.min() >= MINIMUM_DISTANCE
    assert near.donor_distance.mean() < random.donor_distance.mean()


def test_the_same_seed_gives_the_same_cases(log: Histories) -> None:
    """And another seed other splice points."""
    first, again, other = (draw_splice_points(log, ACTIVE_DAYS, seed) for seed in (4, 4, 5))
    assert (first.day == again.day).all()
    assert (first.day != other.day).any()


def test_another_draw_splices_the_same_users_on_other_days(log: Histories) -> None:
    """Users and folds stay, so that no user both calibrates and trains a model."""
    first, second = (draw_splice_points(log, ACTIVE_DAYS, 4, draw=draw, folds=3, maximum_users=20) for draw in (0, 1))
    assert (first.user == second.user).all()
    assert (first.fold == second.fold).all()
    assert (first.day != second.day).any()


def test_the_same_seed_makes_the_same_histories(log: Histories) -> None:
    first = draw_splice_points(log, ACTIVE_DAYS, 4)
    made = [construct(log, first, Construction("same_tier", 0.4), seed=2) for _ in range(2)]
    assert made[0].histories.user_days.score.tolist() == made[1].histories.user_days.score.tolist()


def test_days_from_the_splice_point_on_are_entries_of_the_user_or_none(
    log: Histories, splice_points: SplicePoints
) -> None:
    cases: Cases = construct(log, splice_points, UNSPLICED, seed=1)
    entries = cases.first_days(60)
    user_days = cases.histories.user_days
    for case, user in enumerate(cases.user):
        of_user = entries[case][entries[case] >= 0]
        assert (of_user == np.arange(cases.entry[case], user_days.start[user + 1])).all()
