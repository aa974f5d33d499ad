"""What the days after said about a day's recommendation lists.

Users judged are those with a list and an event, other than a return, in the horizon: recall, NDCG, rates, IPS,
SNIPS and DR are over them. Coverage and novelty are over all lists. A click is any event other than a return
with a recommended item. The off-policy estimates value the same policy without its lots: items that a lot put into
a list count nothing, items that a lot kept count for those it drove out. Without lots all three are the plain click
rate per item shown. What bandits learn from, the users won by kind
of shift, is over all users with a list: who came may depend on what was shown.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from shift_assets import contracts
from shift_assets.contracts import NO_SHIFT
from shift_assets.evaluate.experiments import USER_OUTCOMES
from shift_assets.evaluate.off_policy import Logged, off_policy
from shift_assets.evaluate.ranking import Estimate, interval, ndcg_at_k, ratio_estimate, recall_at_k, resamples
from shift_assets.policies.bandits import open_kinds
from shift_assets.policies.exploration import SOURCE as EXPLORATION
from shift_assets.settings import OutcomeSettings

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

COVERAGE_SAMPLES_PER_BLOCK = 20


class _Codes(NamedTuple):
    """Names of users and items as numbers that the lists and the events share."""

    users: pa.Array
    items: pa.Array

    def user(self, names: pa.ChunkedArray) -> Integers:
        return _place(names, self.users)

    def item(self, names: pa.ChunkedArray) -> Integers:
        return _place(names, self.items)


class _Lists(NamedTuple):
    """One policy's lists, [user, place]; item -1 where a list is shorter."""

    users: Integers
    items: Integers
    propensities: Floats
    by_lot: Flags  # a lot put the item there


class _Judge(NamedTuple):
    """What the lists of all policies are judged by."""

    codes: _Codes
    after: pa.Table
    bought: pa.Table
    information: Floats  # [item], bits
    chance: Floats  # [item], of a click in the horizon
    catalogue_size: int
    known: pa.Table  # item_id and category, distinct
    kinds: dict[str, str]  # of users with an open alarm
    settings: OutcomeSettings
    seed: int


def recommendation_outcomes(
    recommendations: pa.Table,
    events_after: pa.Table,
    events_before: pa.Table,
    alerts: pa.Table,
    settings: OutcomeSettings,
    *,
    seed: int,
) -> pa.Table:
    """Rows of `recommendation_outcomes`, one per policy, for the lists of one (day, segment).

    `events_after` and `events_before` hold clean_events of the segment: of the `horizon_days` after the day, and
    of the days up to and with it, from which come the catalogue and its popularity; rows of other days are
    ignored. `alerts` holds the shift_alerts of the lists' day. Estimates that do not exist are null: all but
    coverage and novelty where no user was judged, and the off-policy ones with too few users in effect. The order of
    rows does not matter.

    Raises ValueError where the lists are of several days or segments, or a propensity is not in (0, 1].
    """
    if recommendations.num_rows == 0:
        return contracts.RECOMMENDATION_OUTCOMES.empty()
    days, segments = (pc.unique(recommendations[name]).to_pylist() for name in ("day", "segment"))
    if len(days) != 1 or len(segments) != 1:
        raise ValueError(f"lists of one day and segment are judged at a time, not of {days} x {segments}")
    day: date = days[0]
    after = _horizon(events_after, day, settings.horizon_days)
    before = events_before.filter((pc.field("day") <= day) & (pc.field("behavior") != "return"))
    codes = _Codes(
        _distinct(recommendations["user_id"]),
        _distinct(recommendations["item_id"], before["item_id"], after["item_id"]),
    )
    taken_by = _users_per_item(before, codes)
    recent = before.filter(pc.field("day") > day - timedelta(days=settings.horizon_days))
    chance = _users_per_item(recent, codes) / max(pc.count_distinct(recent["user_id"]).as_py(), 1)
    information = -np.log2(np.maximum(taken_by, 1) / max(pc.count_distinct(before["user_id"]).as_py(), 1))
    judge = _Judge(
        codes,
        after,
        after.filter(pc.field("behavior") == "purchase"),
        information=np.maximum(information, 0),
        chance=chance,
        catalogue_size=int((taken_by > 0).sum()),
        known=events_before.filter(pc.field("day") <= day).group_by(["item_id", "category"]).aggregate([]),
        kinds=open_kinds(alerts),
        settings=settings,
        seed=seed,
    )
    rows = [
        {
            "day": day,
            "segment": segments[0],
            "policy": policy,
            "horizon_days": settings.horizon_days,
            **_judged(recommendations.filter(pc.field("policy") == policy), judge),
        }
        for policy in sorted(pc.unique(recommendations["policy"]).to_pylist())
    ]
    return pa.Table.from_pylist(rows, schema=contracts.RECOMMENDATION_OUTCOMES.schema)


def user_outcomes(recommendations: pa.Table, events_after: pa.Table, horizon_days: int) -> pa.Table:
    """Rows of `experiments.USER_OUTCOMES` of the lists of one segment: what came of each within its horizon.

    `recommendations` may hold several days; `events_after` holds clean_events of the segment that cover the
    `horizon_days` after each of them. The order of rows does not matter.
    """
    found = [USER_OUTCOMES.empty_table()]
    for day in sorted(pc.unique(recommendations["day"]).to_pylist()):
        of_day = recommendations.filter(pc.field("day") == pa.scalar(day, pa.date32()))
        after = _horizon(events_after, day, horizon_days)
        codes = _Codes(_distinct(of_day["user_id"]), _distinct(of_day["item_id"], after["item_id"]))
        bought = after.filter(pc.field("behavior") == "purchase")
        for policy in sorted(pc.unique(of_day["policy"]).to_pylist()):
            of_policy = of_day.filter(pc.field("policy") == policy)
            lists = _lists_of(of_policy, codes)
            met, relevant = _met(lists, after, codes)
            dealt = pc.index_in(
                codes.users.take(pa.array(lists.users)), value_set=of_policy["user_id"].combine_chunks()
            )
            columns = {
                "day": pa.repeat(pa.scalar(day, pa.date32()), len(lists.users)),
                "user_id": codes.users.take(pa.array(lists.users)),
                "policy": pa.repeat(policy, len(lists.users)),
                "propensity": of_policy["policy_propensity"].take(dealt),
                "clicked": pa.array(met.any(axis=1)),
                "purchased": pa.array(_met(lists, bought, codes)[0].any(axis=1)),
                "recall_at_k": pa.array(recall_at_k(met, relevant), mask=relevant == 0),
            }
            found.append(pa.table(columns, schema=USER_OUTCOMES))
    return pa.concat_tables(found)


def _horizon(events: pa.Table, day: date, horizon_days: int) -> pa.Table:
    """The events, but returns, of the `horizon_days` after `day`."""
    last = day + timedelta(days=horizon_days)
    return events.filter((pc.field("day") > day) & (pc.field("day") <= last) & (pc.field("behavior") != "return"))


def _judged(rows: pa.Table, judge: _Judge) -> dict[str, object]:
    """The measured columns of one policy, whose lists `rows` are."""
    lists = _lists_of(rows, judge.codes)
    met, relevant = _met(lists, judge.after, judge.codes)
    bought, _ = _met(lists, judge.bought, judge.codes)
    shown = lists.items >= 0
    judged = relevant > 0
    samples, seed = judge.settings.bootstrap_samples, judge.seed
    draws, all_draws = resamples(int(judged.sum()), samples, seed), resamples(len(judged), samples, seed)
    one = np.ones(int(judged.sum()))
    novelty = np.asarray(np.where(shown, judge.information[lists.items], 0.0).sum(axis=1), dtype=np.float64)
    # One chance for a place, whatever stands there: the item that a lot drove out is not known.
    chance = np.where(shown, judge.chance[lists.items], 0.0).sum(axis=0) / np.maximum(shown.sum(axis=0), 1)
    expected = np.where(shown, chance, 0.0)[judged]
    value = off_policy(
        Logged(
            rewards=met[judged].astype(np.float64),
            behaviour=lists.propensities[judged],
            target=(shown & ~lists.by_lot)[judged].astype(np.float64),
            shown=shown[judged],
            expected=expected,
            expected_of_target=expected,
        ),
        judge.settings.minimum_effective_users,
        draws,
    )
    estimates = {
        "recall_at_k": ratio_estimate(recall_at_k(met[judged], relevant[judged]), one, draws),
        "ndcg_at_k": ratio_estimate(ndcg_at_k(met[judged], relevant[judged]), one, draws),
        "click_rate": ratio_estimate(_any_place(met[judged]), one, draws),
        "purchase_rate": ratio_estimate(_any_place(bought[judged]), one, draws),
        "coverage": _coverage(lists.items, judge.catalogue_size, all_draws),
        "novelty": ratio_estimate(novelty, np.asarray(shown.sum(axis=1), dtype=np.float64), all_draws),
        "ips": value.ips,
        "snips": value.snips,
        "dr": value.dr,
    }
    row: dict[str, object] = {
        "k": lists.items.shape[1],
        "users": int(judged.sum()),
        "effective_users": value.effective_users,
        "off_policy_note": value.note,
        "by_shift_kind": _by_shift_kind(lists, met, bought, judge),
        "explored": _explored(lists, met, judge),
    }
    for name, estimate in estimates.items():
        row[name] = estimate.value if estimate else None
        row[f"{name}_low"] = estimate.low if estimate else None
        row[f"{name}_high"] = estimate.high if estimate else None
    return row


def _by_shift_kind(lists: _Lists, met: Flags, bought: Flags, judge: _Judge) -> list[dict[str, object]]:
    """Users, and those won, by kind of the open alarm."""
    names = judge.codes.users.take(pa.array(lists.users)).to_pylist()
    kinds = np.array([judge.kinds.get(name, NO_SHIFT) for name in names])
    return [
        {
            "shift_kind": kind,
            "users": int((kinds == kind).sum()),
            "clicked": int(met[kinds == kind].any(axis=1).sum()),
            "purchased": int(bought[kinds == kind].any(axis=1).sum()),
        }
        for kind in sorted(set(kinds.tolist()))
    ]


def _explored(lists: _Lists, met: Flags, judge: _Judge) -> list[dict[str, object]]:
    """Places drawn by lot, and those met, by category of the item."""
    drawn = (lists.items >= 0) & (lists.propensities < 1)
    if not drawn.any():
        return []
    category_of = dict(sorted(zip(*(judge.known[name].to_pylist() for name in ("item_id", "category")), strict=True)))
    names = judge.codes.items.take(pa.array(lists.items[drawn])).to_pylist()
    counts: dict[str, list[int]] = {}
    for name, found in zip(names, met[drawn].tolist(), strict=True):
        of_category = counts.setdefault(category_of[name], [0, 0])
        of_category[0] += 1
        of_category[1] += found
    return [{"category": name, "shown": shown, "met": own} for name, (shown, own) in sorted(counts.items())]


def _lists_of(rows: pa.Table, codes: _Codes) -> _Lists:
    users, row = np.unique(codes.user(rows["user_id"]), return_inverse=True)
    places = rows["rank"].to_numpy() - 1
    items = np.full((len(users), int(places.max()) + 1), -1, dtype=np.int64)
    items[row, places] = codes.item(rows["item_id"])
    propensities = np.ones(items.shape)
    propensities[row, places] = rows["propensity"].to_numpy()
    by_lot = np.zeros(items.shape, dtype=bool)
    by_lot[row, places] = pc.equal(rows["source"], EXPLORATION).to_numpy()
    return _Lists(users, items, propensities, by_lot)


def _met(lists: _Lists, events: pa.Table, codes: _Codes) -> tuple[Flags, Integers]:
    """Which places [user, place] hold an item that its user meets in `events`, and how many items [user] it meets."""
    users, items = codes.user(events["user_id"]), codes.item(events["item_id"])
    row = np.full(len(codes.users) + 1, -1)
    row[lists.users] = np.arange(len(lists.users))
    listed = row[users] >= 0
    pairs = np.unique(row[users[listed]] * len(codes.items) + items[listed])
    own = np.arange(len(lists.users))[:, None] * len(codes.items) + lists.items
    met = np.isin(own, pairs) & (lists.items >= 0)
    return met, np.bincount(pairs // max(len(codes.items), 1), minlength=len(lists.users))


def _any_place(flags: Flags) -> Floats:
    """1 where any place [user, place] is flagged, else 0."""
    return np.asarray(flags.any(axis=1), dtype=np.float64)


def _coverage(items: Integers, catalogue_size: int, draws: Integers) -> Estimate | None:
    """Distinct items of all lists over the catalogue's.

    A resample holds 63 % of the users, so its count comes out low: the interval is moved up by that bias.
    """
    if catalogue_size == 0:
        return None
    rows, places = np.nonzero(items >= 0)
    distinct, columns = np.unique(items[rows, places], return_inverse=True)
    held = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(items), len(distinct)))
    replicates = np.concatenate(
        [
            ((draws[start : start + COVERAGE_SAMPLES_PER_BLOCK] @ held) > 0).sum(axis=1)
            for start in range(0, len(draws), COVERAGE_SAMPLES_PER_BLOCK)
        ]
    )
    unbiased = np.minimum(replicates + len(distinct) - replicates.mean(), catalogue_size)
    return interval(len(distinct) / catalogue_size, unbiased / catalogue_size)


def _users_per_item(events: pa.Table, codes: _Codes) -> Floats:
    """Distinct users [item]."""
    pairs = events.select(["item_id", "user_id"]).group_by(["item_id", "user_id"]).aggregate([])
    return np.bincount(codes.item(pairs["item_id"]), minlength=len(codes.items)).astype(np.float64)


def _distinct(*columns: pa.ChunkedArray) -> pa.Array:
    """Distinct names in order, so that a seed draws the same users however the rows stand."""
    names = pc.unique(pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string()))
    return names.take(pc.sort_indices(names))


def _place(names: pa.ChunkedArray, among: pa.Array) -> Integers:
    """Place of every name `among`, -1 where it is not."""
    found = pc.fill_null(pc.index_in(names, value_set=among), -1)
    return np.asarray(found.to_numpy(), dtype=np.int64)
