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
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from shift_assets.arrays import BoolArray, Float64Array, Int64Array
from shift_assets.contracts.outcomes import RECOMMENDATION_OUTCOMES
from shift_assets.contracts.shift import NO_SHIFT
from shift_assets.experiments.bandits import open_shift_kinds
from shift_assets.experiments.exploration import EXPLORATION_GENERATOR as EXPLORATION
from shift_assets.outcomes.estimates import Estimate, interval, ndcg_at_k, ratio_estimate, recall_at_k, resamples
from shift_assets.outcomes.experiments import USER_OUTCOMES
from shift_assets.outcomes.off_policy import LoggedFeedback, off_policy
from shift_assets.settings.root import OutcomeSettings

COVERAGE_SAMPLES_PER_BLOCK = 20

MINIMUM_EFFECTIVE_USERS = 100
"""Effective sample size below which an off-policy estimate is refused."""


class _Codes(NamedTuple):
    """Names of users and items as numbers that the lists and the events share."""

    users: pa.Array
    items: pa.Array

    def user(self, names: pa.ChunkedArray) -> Int64Array:
        return _index_in(names, self.users)

    def item(self, names: pa.ChunkedArray) -> Int64Array:
        return _index_in(names, self.items)


class _Slates(NamedTuple):
    """One policy's lists, [user, place]; item -1 where a list is shorter."""

    users: Int64Array
    items: Int64Array
    propensities: Float64Array
    explored: BoolArray  # a lot put the item there


class _Context(NamedTuple):
    """What the lists of all policies are judged by."""

    codes: _Codes
    after: pa.Table
    bought: pa.Table
    information: Float64Array  # [item], bits
    click_probability: Float64Array  # [item], of a click in the horizon
    catalogue_size: int
    known: pa.Table  # item_id and category, distinct
    kinds: dict[str, str]  # of users with an open alarm
    settings: OutcomeSettings
    seed: int
    minimum_effective_users: int


def recommendation_outcomes(
    recommendations: pa.Table,
    events_after: pa.Table,
    events_before: pa.Table,
    alerts: pa.Table,
    settings: OutcomeSettings,
    *,
    seed: int,
    minimum_effective_users: int = MINIMUM_EFFECTIVE_USERS,
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
        return RECOMMENDATION_OUTCOMES.empty()
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
    users_per_item = _users_per_item(before, codes)
    recent = before.filter(pc.field("day") > day - timedelta(days=settings.horizon_days))
    click_probability = _users_per_item(recent, codes) / max(pc.count_distinct(recent["user_id"]).as_py(), 1)
    information = -np.log2(np.maximum(users_per_item, 1) / max(pc.count_distinct(before["user_id"]).as_py(), 1))
    context = _Context(
        codes,
        after,
        after.filter(pc.field("behavior") == "purchase"),
        information=np.maximum(information, 0),
        click_probability=click_probability,
        catalogue_size=int((users_per_item > 0).sum()),
        known=events_before.filter(pc.field("day") <= day).group_by(["item_id", "category"]).aggregate([]),
        kinds=open_shift_kinds(alerts),
        settings=settings,
        seed=seed,
        minimum_effective_users=minimum_effective_users,
    )
    rows = [
        {
            "day": day,
            "segment": segments[0],
            "policy": policy,
            "horizon_days": settings.horizon_days,
            **_metric_columns(recommendations.filter(pc.field("policy") == policy), context),
        }
        for policy in sorted(pc.unique(recommendations["policy"]).to_pylist())
    ]
    return pa.Table.from_pylist(rows, schema=RECOMMENDATION_OUTCOMES.schema)


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
            slates = _slates_of(of_policy, codes)
            hits, relevant = _hits(slates, after, codes)
            assignment_row = pc.index_in(
                codes.users.take(pa.array(slates.users)), value_set=of_policy["user_id"].combine_chunks()
            )
            columns = {
                "day": pa.repeat(pa.scalar(day, pa.date32()), len(slates.users)),
                "user_id": codes.users.take(pa.array(slates.users)),
                "policy": pa.repeat(policy, len(slates.users)),
                "propensity": of_policy["policy_propensity"].take(assignment_row),
                "clicked": pa.array(hits.any(axis=1)),
                "purchased": pa.array(_hits(slates, bought, codes)[0].any(axis=1)),
                "recall_at_k": pa.array(recall_at_k(hits, relevant), mask=relevant == 0),
            }
            found.append(pa.table(columns, schema=USER_OUTCOMES))
    return pa.concat_tables(found)


def _horizon(events: pa.Table, day: date, horizon_days: int) -> pa.Table:
    """The events, but returns, of the `horizon_days` after `day`."""
    last = day + timedelta(days=horizon_days)
    return events.filter((pc.field("day") > day) & (pc.field("day") <= last) & (pc.field("behavior") != "return"))


def _metric_columns(rows: pa.Table, context: _Context) -> dict[str, object]:
    """The measured columns of one policy, whose lists `rows` are."""
    slates = _slates_of(rows, context.codes)
    hits, relevant = _hits(slates, context.after, context.codes)
    bought, _ = _hits(slates, context.bought, context.codes)
    shown = slates.items >= 0
    evaluated = relevant > 0
    samples, seed = context.settings.bootstrap_samples, context.seed
    draws, all_draws = resamples(int(evaluated.sum()), samples, seed), resamples(len(evaluated), samples, seed)
    one = np.ones(int(evaluated.sum()))
    novelty = np.asarray(np.where(shown, context.information[slates.items], 0.0).sum(axis=1), dtype=np.float64)
    # One chance for a place, whatever stands there: the item that a lot drove out is not known.
    click_probability = np.where(shown, context.click_probability[slates.items], 0.0).sum(axis=0) / np.maximum(
        shown.sum(axis=0), 1
    )
    expected = np.where(shown, click_probability, 0.0)[evaluated]
    value = off_policy(
        LoggedFeedback(
            rewards=hits[evaluated].astype(np.float64),
            behaviour=slates.propensities[evaluated],
            target=(shown & ~slates.explored)[evaluated].astype(np.float64),
            shown=shown[evaluated],
            expected=expected,
            expected_of_target=expected,
        ),
        context.minimum_effective_users,
        draws,
    )
    estimates = {
        "recall_at_k": ratio_estimate(recall_at_k(hits[evaluated], relevant[evaluated]), one, draws),
        "ndcg_at_k": ratio_estimate(ndcg_at_k(hits[evaluated], relevant[evaluated]), one, draws),
        "click_rate": ratio_estimate(_any_rank(hits[evaluated]), one, draws),
        "purchase_rate": ratio_estimate(_any_rank(bought[evaluated]), one, draws),
        "coverage": _coverage(slates.items, context.catalogue_size, all_draws),
        "novelty": ratio_estimate(novelty, np.asarray(shown.sum(axis=1), dtype=np.float64), all_draws),
        "ips": value.ips,
        "snips": value.snips,
        "dr": value.dr,
    }
    row: dict[str, object] = {
        "k": slates.items.shape[1],
        "users": int(evaluated.sum()),
        "effective_users": value.effective_users,
        "off_policy_note": value.note,
        "by_shift_kind": _by_shift_kind(slates, hits, bought, context),
        "explored": _explored(slates, hits, context),
    }
    for name, estimate in estimates.items():
        row[name] = estimate.value if estimate else None
        row[f"{name}_low"] = estimate.low if estimate else None
        row[f"{name}_high"] = estimate.high if estimate else None
    return row


def _by_shift_kind(slates: _Slates, hits: BoolArray, bought: BoolArray, context: _Context) -> list[dict[str, object]]:
    """Users, and those won, by kind of the open alarm."""
    names = context.codes.users.take(pa.array(slates.users)).to_pylist()
    kinds = np.array([context.kinds.get(name, NO_SHIFT) for name in names])
    return [
        {
            "shift_kind": kind,
            "users": int((kinds == kind).sum()),
            "clicked": int(hits[kinds == kind].any(axis=1).sum()),
            "purchased": int(bought[kinds == kind].any(axis=1).sum()),
        }
        for kind in sorted(set(kinds.tolist()))
    ]


def _explored(slates: _Slates, hits: BoolArray, context: _Context) -> list[dict[str, object]]:
    """Places drawn by lot, and those met, by category of the item."""
    drawn = (slates.items >= 0) & (slates.propensities < 1)
    if not drawn.any():
        return []
    category_of = dict(sorted(zip(*(context.known[name].to_pylist() for name in ("item_id", "category")), strict=True)))
    names = context.codes.items.take(pa.array(slates.items[drawn])).to_pylist()
    counts: dict[str, list[int]] = {}
    for name, found in zip(names, hits[drawn].tolist(), strict=True):
        of_category = counts.setdefault(category_of[name], [0, 0])
        of_category[0] += 1
        of_category[1] += found
    return [{"category": name, "shown": shown, "met": own} for name, (shown, own) in sorted(counts.items())]


def _slates_of(rows: pa.Table, codes: _Codes) -> _Slates:
    users, row = np.unique(codes.user(rows["user_id"]), return_inverse=True)
    positions = rows["rank"].to_numpy() - 1
    items = np.full((len(users), int(positions.max()) + 1), -1, dtype=np.int64)
    items[row, positions] = codes.item(rows["item_id"])
    propensities = np.ones(items.shape)
    propensities[row, positions] = rows["propensity"].to_numpy()
    explored = np.zeros(items.shape, dtype=bool)
    explored[row, positions] = pc.equal(rows["source"], EXPLORATION).to_numpy()
    return _Slates(users, items, propensities, explored)


def _hits(slates: _Slates, events: pa.Table, codes: _Codes) -> tuple[BoolArray, Int64Array]:
    """Which places [user, place] hold an item that its user meets in `events`, and how many items [user] it meets."""
    users, items = codes.user(events["user_id"]), codes.item(events["item_id"])
    row = np.full(len(codes.users) + 1, -1)
    row[slates.users] = np.arange(len(slates.users))
    listed = row[users] >= 0
    pairs = np.unique(row[users[listed]] * len(codes.items) + items[listed])
    own = np.arange(len(slates.users))[:, None] * len(codes.items) + slates.items
    hits = np.isin(own, pairs) & (slates.items >= 0)
    return hits, np.bincount(pairs // max(len(codes.items), 1), minlength=len(slates.users))


def _any_rank(flags: BoolArray) -> Float64Array:
    """1 where any place [user, place] is flagged, else 0."""
    return np.asarray(flags.any(axis=1), dtype=np.float64)


def _coverage(items: Int64Array, catalogue_size: int, draws: Int64Array) -> Estimate | None:
    """Distinct items of all lists over the catalogue's.

    A resample holds 63 % of the users, so its count comes out low: the interval is moved up by that bias.
    """
    if catalogue_size == 0:
        return None
    rows, positions = np.nonzero(items >= 0)
    distinct, columns = np.unique(items[rows, positions], return_inverse=True)
    held = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(items), len(distinct)))
    replicates = np.concatenate(
        [
            ((draws[start : start + COVERAGE_SAMPLES_PER_BLOCK] @ held) > 0).sum(axis=1)
            for start in range(0, len(draws), COVERAGE_SAMPLES_PER_BLOCK)
        ]
    )
    unbiased = np.minimum(replicates + len(distinct) - replicates.mean(), catalogue_size)
    return interval(len(distinct) / catalogue_size, unbiased / catalogue_size)


def _users_per_item(events: pa.Table, codes: _Codes) -> Float64Array:
    """Distinct users [item]."""
    pairs = events.select(["item_id", "user_id"]).group_by(["item_id", "user_id"]).aggregate([])
    return np.bincount(codes.item(pairs["item_id"]), minlength=len(codes.items)).astype(np.float64)


def _distinct(*columns: pa.ChunkedArray) -> pa.Array:
    """Distinct names in order, so that a seed draws the same users however the rows stand."""
    names = pc.unique(pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string()))
    return names.take(pc.sort_indices(names))


def _index_in(names: pa.ChunkedArray, among: pa.Array) -> Int64Array:
    """Place of every name `among`, -1 where it is not."""
    found = pc.fill_null(pc.index_in(names, value_set=among), -1)
    return np.asarray(found.to_numpy(), dtype=np.int64)
