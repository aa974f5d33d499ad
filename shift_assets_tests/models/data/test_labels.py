"""Labels come from the days after a prediction point, from observed days only, and mark spliced histories."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shift_assets.contracts.day import day_number
from shift_assets.models.data.labels import CHURN_WEEKS, Labels, behavior_points, labels
from shift_assets.models.data.prediction_points import FEATURES, PURCHASE, SILENT_DAYS, PredictionPoints, Timeline
from shift_assets.models.data.sequences import RETURN, Sequences, Vocabulary, later_visit, pack
from shift_assets.models.data.spliced_histories import shift_labels, splice_at_random_days
from shift_assets.settings.root import InterestSettings
from shift_assets_tests.event_logs import FIRST_DAY, Row, clean_events, random_log

START = day_number(FIRST_DAY)
POINTS = behavior_points(InterestSettings().weights)


def packed(events: pa.Table) -> Sequences:
    return pack(events, Vocabulary.of(events))


def of_rows(*rows: Row) -> Timeline:
    return Timeline(packed(clean_events(rows)))


def assert_same(one: Labels, other: Labels) -> None:
    for name, values in vars(one).items():
        np.testing.assert_array_equal(values, getattr(other, name), err_msg=name)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), last=st.integers(2, 18), horizon=st.integers(1, 9), days=st.integers(3, 70))
def test_what_came_after_the_last_day_changes_no_label(seed: int, last: int, horizon: int, days: int) -> None:
    """Later events do not change the labels of prediction points of an earlier last day."""
    log = random_log(seed, users=12, days=days, per_day=6)
    whole = packed(log)
    last_day = START + min(last, days - 1)
    seen = whole.until(last_day + 1)
    prediction_points, later_points = (Timeline(s).prediction_points(last_day, 3) for s in (seen, seen))
    np.testing.assert_array_equal(prediction_points.days, later_points.days)
    kept = np.flatnonzero(whole.days <= last_day)
    in_whole = PredictionPoints(Timeline(whole), kept[prediction_points.events], prediction_points.days)
    assert_same(
        labels(prediction_points, last_day, horizon, POINTS),
        labels(in_whole, last_day, horizon, POINTS),
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), horizon=st.integers(1, 9))
def test_labels_are_what_a_slow_reading_of_the_log_finds(seed: int, horizon: int) -> None:
    """Shares, purchases and weeks of return agree with a loop over the events of one user after another."""
    timeline = Timeline(packed(random_log(seed, users=8, days=40, per_day=3)))
    s, last_day = timeline.sequences, START + 33
    prediction_points = timeline.prediction_points(last_day, seed)
    prediction_points = prediction_points.take(prediction_points.days <= last_day)
    found = labels(prediction_points, last_day, horizon, POINTS)
    for n, (event, day) in enumerate(zip(prediction_points.events, prediction_points.days, strict=True)):
        owner = np.searchsorted(s.offsets, event, side="right") - 1
        own = np.arange(s.offsets[owner], s.offsets[owner + 1])
        later = own[(s.days[own] > day) & (s.days[own] <= last_day)]
        soon = later[s.days[later] <= day + horizon]
        scores = np.zeros(s.categories.max() + 1)
        np.add.at(scores, s.categories[soon], POINTS[s.behaviors[soon]])
        scores = np.maximum(scores, 0)
        shares = np.zeros_like(scores)
        shares[found.categories[found.prediction_points == n]] = found.shares[found.prediction_points == n]
        np.testing.assert_allclose(shares, scores / scores.sum() if scores.sum() else scores, atol=1e-6)
        assert found.purchase_known[n] == (day + horizon <= last_day)
        assert found.purchase[n] == (PURCHASE in s.behaviors[soon])
        returns = s.days[own][s.days[own] > day]
        for week in range(CHURN_WEEKS):
            first, last = day + 7 * week + 1, day + 7 * (week + 1)
            back_before = bool(len(returns)) and returns.min() < first
            assert found.at_risk[n, week] == (last <= last_day and not back_before)
            came = bool(len(returns)) and first <= returns.min() <= last
            assert found.returned[n, week] == (last <= last_day and came)


def test_a_partly_observed_week_is_masked() -> None:
    """Who came back on the second day of a week of which only three days were seen is masked, as who did not is."""
    timeline = of_rows((0, "a", "x-1", "view"), (2, "a", "x-1", "view"), (0, "b", "x-1", "view"))
    prediction_points = timeline.day_ends()
    prediction_points = prediction_points.take(prediction_points.days == START)
    found = labels(prediction_points, START + 3, 7, POINTS)
    assert not found.at_risk.any()
    assert not found.purchase_known.any()
    a_week_on = labels(prediction_points, START + 7, 7, POINTS)
    assert a_week_on.at_risk[:, 0].all()
    assert sorted(a_week_on.returned[:, 0].tolist()) == [False, True]


def test_a_return_cancels_the_points_of_its_purchase() -> None:
    """A category whose purchases all came back has no share, and a point with nothing else is masked."""
    timeline = of_rows(
        (0, "a", "x-1", "view"), (1, "a", "y-1", "purchase"), (2, "a", "y-1", "return"), (3, "a", "x-2", "view")
    )
    prediction_points = timeline.day_ends()
    found = labels(prediction_points, START + 3, 2, POINTS)
    assert 0 not in found.prediction_points
    assert found.shares[found.prediction_points == 1].tolist() == [1.0]
    assert (timeline.sequences.behaviors == RETURN).sum() == 1


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), days=st.integers(1, 40), seen_until=st.integers(0, 45))
def test_prediction_points_lie_within_the_observed_days(seed: int, days: int, seen_until: int) -> None:
    """Every active day has a point at its end; silent points lie before the next visit and within the observed days."""
    timeline = Timeline(packed(random_log(seed, users=10, days=days, per_day=4)).until(START + seen_until + 1))
    s, last_day = timeline.sequences, START + seen_until
    prediction_points = timeline.prediction_points(last_day, seed)
    ends = timeline.day_ends()
    at_end = prediction_points.days == s.days[prediction_points.events]
    np.testing.assert_array_equal(prediction_points.events[at_end], ends.events)
    following, owner_end = later_visit(s)
    silent = prediction_points.take(~at_end)
    assert (np.diff(prediction_points.events) >= 0).all()
    assert (silent.days - s.days[silent.events] <= SILENT_DAYS).all()
    assert (silent.days <= last_day).all()
    back = following[silent.events] < owner_end[silent.events]
    assert (silent.days[back] < s.days[following[silent.events][back]]).all()


def test_the_last_prediction_points_are_those_of_recently_active_users() -> None:
    """Users active within four weeks have one point, at their newest event; later events are not known yet."""
    timeline = of_rows(
        (0, "old", "x-1", "view"),
        (5, "a", "x-1", "view"),
        (30, "a", "x-2", "view"),
        (9, "b", "x-1", "view"),
        (31, "c", "x-1", "view"),
    )
    prediction_points = timeline.last_prediction_points(START + 30)
    s = timeline.sequences
    assert sorted(s.days[prediction_points.events] - START) == [9, 30]
    assert (prediction_points.days == START + 30).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), cut=st.integers(3, 25))
def test_features_of_a_prediction_point_use_no_later_event(seed: int, cut: int) -> None:
    """Features of a point are the same with or without later events."""
    whole = packed(random_log(seed, users=8, days=30, per_day=5))
    seen = whole.until(START + cut)
    prediction_points = Timeline(seen).day_ends()
    kept = np.flatnonzero(whole.days < START + cut)
    one = prediction_points.features(20)
    other = PredictionPoints(Timeline(whole), kept[prediction_points.events], prediction_points.days).features(20)
    assert one.shape == (len(prediction_points), FEATURES)
    assert np.isfinite(one).all()
    np.testing.assert_array_equal(one, other)


def test_features_count_what_was_done() -> None:
    """One user by hand: silence, visits, age, rhythm, events, purchases, and another taste on the newest day."""
    timeline = of_rows(
        (0, "a", "x-1", "purchase"), (0, "a", "x-2", "view"), (10, "a", "x-1", "view"), (14, "a", "y-1", "view")
    )
    prediction_points = PredictionPoints(timeline, np.array([3, 3]), START + np.array([14, 20]))
    found = prediction_points.features(50)
    np.testing.assert_allclose(
        np.expm1(found[:, :8]), [[0, 3, 14, 4, 1, 2, 4, 14], [6, 3, 20, 4, 1, 1, 4, 20]], rtol=1e-5
    )
    assert found[0, 8] == 0  # the newest day holds a category that none before held
    np.testing.assert_allclose(found[0, 9], 2 / np.sqrt(2 * 4), rtol=1e-6)  # x and y against x twice


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), active_days=st.integers(1, 4))
def test_a_splice_is_one_user_before_the_splice_point_and_another_from_it_on(seed: int, active_days: int) -> None:
    """Each event of a spliced history is in the log on its day, and both sides have their active days."""
    sequences = packed(random_log(seed, users=10, days=25, per_day=12))
    made = splice_at_random_days(sequences, active_days, seed)
    s = made.sequences
    assert len(s.users) == len(made.splice_days) == len(made.spliced) == len(s.lengths)
    assert s.offsets[-1] == len(s.items) == len(s.days) == len(s.gaps)
    events = {
        name: list(zip(*(getattr(sequences, f)[a:b] for f in ("days", "items", "behaviors")), strict=True))
        for name, a, b in zip(sequences.users, sequences.offsets[:-1], sequences.offsets[1:], strict=True)
    }
    for user, cut in enumerate(made.splice_days):
        a, b = s.offsets[user], s.offsets[user + 1]
        own = list(zip(s.days[a:b], s.items[a:b], s.behaviors[a:b], strict=True))
        whose = s.users[user].removesuffix(" spliced")
        assert (np.diff(s.days[a:b]) >= 0).all()
        if not made.spliced[user]:
            assert own == events[whose]
            continue
        before, after = [e for e in own if e[0] < cut], [e for e in own if e[0] >= cut]
        assert before == [e for e in events[whose] if e[0] < cut]
        donors = [name for name in events if name != whose and after == [e for e in events[name] if e[0] >= cut]]
        assert donors
        assert len({e[0] for e in before}) >= active_days <= len({e[0] for e in after})


def test_a_splice_is_a_shift_for_its_first_days() -> None:
    """False before the splice day, true for the first active days from it on, then masked; unspliced ones are false."""
    sequences = packed(random_log(4, users=10, days=25, per_day=12))
    made = splice_at_random_days(sequences, 3, 1)
    timeline = Timeline(made.sequences)
    prediction_points = timeline.prediction_points(START + 24, 1)
    shifted, counts = shift_labels(made, prediction_points, 3)
    owner = timeline.owners[prediction_points.events]
    assert made.spliced.any()
    assert not shifted[~made.spliced[owner]].any()
    assert counts[~made.spliced[owner]].all()
    before = timeline.sequences.days[prediction_points.events] < made.splice_days[owner]
    assert not shifted[before].any()
    assert counts[before].all()
    for user in np.flatnonzero(made.spliced):
        own = owner == user
        assert len(set(timeline.sequences.days[prediction_points.events[own & shifted]])) == 3
        newest = timeline.sequences.days[prediction_points.events[own & shifted]].max()
        assert not counts[own & (timeline.sequences.days[prediction_points.events] > newest)].any()


def test_splices_are_drawn_from_their_seed() -> None:
    """The same seed splices the same users, another seed others, and never more than the maximum."""
    sequences = packed(random_log(4, users=14, days=25, per_day=12))
    one, again, other = (
        splice_at_random_days(sequences, 2, 1),
        splice_at_random_days(sequences, 2, 1),
        splice_at_random_days(sequences, 2, 2),
    )
    np.testing.assert_array_equal(one.sequences.items, again.sequences.items)
    assert len(one.sequences.items) != len(other.sequences.items)
    assert splice_at_random_days(sequences, 2, 1, maximum_users=3).spliced.sum() <= 3


@pytest.mark.parametrize("rows", [(), ((0, "a", "x-1", "view"),)], ids=["nothing", "one event"])
def test_too_little_gives_no_labels(rows: tuple[Row, ...]) -> None:
    """An empty log and a single event have no splices, and labels that are all masked."""
    timeline = of_rows(*rows)
    prediction_points = timeline.prediction_points(START + 3, 1)
    found = labels(prediction_points, START + 3, 7, POINTS)
    assert not len(found.prediction_points)
    assert not found.purchase_known.any()
    assert len(timeline.last_prediction_points(START + 3)) == len(timeline.sequences.users)
    made = splice_at_random_days(timeline.sequences, 1, 1)
    assert len(made.sequences.users) == 0
    assert len(shift_labels(made, Timeline(made.sequences).day_ends(), 2)[0]) == 0


def test_the_gap_at_a_splice_point_is_in_whole_days() -> None:
    """The gap at the splice day is counted from the last event before it, whatever the donor's own gap was."""
    made = splice_at_random_days(packed(random_log(4, users=10, days=25, per_day=12)), 2, 1)
    s = made.sequences
    for user in np.flatnonzero(made.spliced):
        own = slice(s.offsets[user], s.offsets[user + 1])
        joint = s.offsets[user] + int((s.days[own] < made.splice_days[user]).sum())
        silence = s.days[joint] - s.days[joint - 1]
        assert s.gaps[joint] == 1 + int(np.log2(1 + 86_400 * silence))
    assert made.spliced.any()
