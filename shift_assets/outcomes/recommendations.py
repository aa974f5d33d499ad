"""The table `recommendation_outcomes`: metrics of a day's recommendations on the days after it.

Evaluated are users with recommendations and an event, other than a return, in the horizon: recall, NDCG, rates, IPS,
SNIPS and DR are over them. Coverage and novelty are over all users with recommendations. A click is any event other
than a return with a recommended item. The off-policy estimates value the same policy without its exploration: items
that exploration put into a slate do not count, and items that exploration left in place also count for those it
replaced. Without exploration all three are the click rate per shown item. The counts by kind of shift, which the
bandits learn from, are over all users with recommendations, because visits may depend on what was shown.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float64, Int64
from scipy import sparse

from shift_assets.arrays import BoolArray, Float64Array, Int64Array
from shift_assets.contracts.outcomes import RECOMMENDATION_OUTCOMES
from shift_assets.contracts.shift import NO_SHIFT
from shift_assets.experiments.bandits import open_shift_kinds
from shift_assets.experiments.exploration import EXPLORATION_GENERATOR as EXPLORATION
from shift_assets.models.metrics import ndcg_at_k, recall_at_k
from shift_assets.outcomes.estimates import Estimate, interval, ratio_estimate, resamples
from shift_assets.outcomes.experiments import USER_OUTCOMES
from shift_assets.outcomes.off_policy import LoggedFeedback, OffPolicyEstimates, off_policy
from shift_assets.settings.root import OutcomeSettings

COVERAGE_SAMPLES_PER_BLOCK = 20

MINIMUM_EFFECTIVE_USERS = 100
"""Effective number of users below which there is no off-policy estimate."""


class _Codes(NamedTuple):
    """Users and items that slates and events have in common, as integer codes."""

    users: pa.Array
    items: pa.Array

    def user(self, names: pa.ChunkedArray) -> Int64Array:
        return _index_in(names, self.users)

    def item(self, names: pa.ChunkedArray) -> Int64Array:
        return _index_in(names, self.items)


class _Slates(NamedTuple):
    """Slates of one policy, [user, rank]; item -1 where a slate is shorter."""

    users: Int64Array
    items: Int64[Int64Array, "user rank"]
    propensities: Float64[Float64Array, "user rank"]
    explored: Bool[BoolArray, "user rank"]  # exploration put the item there


class _Horizon(NamedTuple):
    """Events of the days after, without returns."""

    codes: _Codes
    events: pa.Table
    purchases: pa.Table


class _Feedback(NamedTuple):
    """Slates of one policy and their outcome: hits and purchases [user, rank], items [user] with an event."""

    slates: _Slates
    hits: Bool[BoolArray, "user rank"]
    bought: Bool[BoolArray, "user rank"]
    relevant: Int64[Int64Array, " user"]

    @classmethod
    def of(cls, slates: _Slates, horizon: _Horizon) -> _Feedback:
        hits, relevant = _hits(slates, horizon.events, horizon.codes)
        bought, _ = _hits(slates, horizon.purchases, horizon.codes)
        return cls(slates, hits, bought, relevant)


class _Catalogue(NamedTuple):
    """What was known of the items on the day of the recommendations."""

    information: Float64[Float64Array, " item"]  # bits
    click_probability: Float64[Float64Array, " item"]  # share of users with an event within a horizon
    size: int
    categories: pa.Table  # item_id and category, distinct

    @classmethod
    def of(cls, events: pa.Table, day: date, horizon_days: int, codes: _Codes) -> _Catalogue:
        """The catalogue of `events` up to and including `day`."""
        until = events.filter(pc.field("day") <= day)
        met = until.filter(pc.field("behavior") != "return")
        recent = met.filter(pc.field("day") > day - timedelta(days=horizon_days))
        users_per_item = _users_per_item(met, codes)
        information = -np.log2(np.maximum(users_per_item, 1) / max(pc.count_distinct(met["user_id"]).as_py(), 1))
        return cls(
            information=np.maximum(information, 0),
            click_probability=_users_per_item(recent, codes) / max(pc.count_distinct(recent["user_id"]).as_py(), 1),
            size=int((users_per_item > 0).sum()),
            categories=until.group_by(["item_id", "category"]).aggregate([]),
        )


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
    """Rows of `recommendation_outcomes`, one per policy, for the recommendations of one day and segment.

    Estimates that do not exist are null: all but coverage and novelty where no user was evaluated, and the off-policy
    ones with too few effective users. The order of rows does not matter.

    Args:
        recommendations: `recommendations` of one day and segment.
        events_after: clean_events of the segment for the `horizon_days` after the day; other days are ignored.
        events_before: clean_events of the segment up to and including the day, from which come the catalogue and the
            popularity of its items; later days are ignored.
        alerts: `shift_alerts` of the day.
        settings: Horizon, bootstrap and limits.
        seed: Seed of the bootstrap.
        minimum_effective_users: Effective users below which there is no off-policy estimate.

    Raises:
        ValueError: The recommendations are of several days or segments, or a propensity is not in (0, 1].
    """
    if recommendations.num_rows == 0:
        return RECOMMENDATION_OUTCOMES.empty()
    days, segments = (pc.unique(recommendations[name]).to_pylist() for name in ("day", "segment"))
    if len(days) != 1 or len(segments) != 1:
        raise ValueError(f"expected recommendations of one day and segment, found {days} x {segments}")
    day: date = days[0]
    after = _horizon(events_after, day, settings.horizon_days)
    before = events_before.filter((pc.field("day") <= day) & (pc.field("behavior") != "return"))
    codes = _Codes(
        _distinct(recommendations["user_id"]),
        _distinct(recommendations["item_id"], before["item_id"], after["item_id"]),
    )
    horizon = _Horizon(codes, after, after.filter(pc.field("behavior") == "purchase"))
    catalogue = _Catalogue.of(events_before, day, settings.horizon_days, codes)
    kinds = open_shift_kinds(alerts)
    rows: list[dict[str, object]] = []
    for policy in sorted(pc.unique(recommendations["policy"]).to_pylist()):
        slates = _slates_of(recommendations.filter(pc.field("policy") == policy), codes)
        feedback = _Feedback.of(slates, horizon)
        rows.append(
            {
                "day": day,
                "segment": segments[0],
                "policy": policy,
                "horizon_days": settings.horizon_days,
                "k": slates.items.shape[1],
                **_estimates(feedback, catalogue, settings.bootstrap_samples, seed, minimum_effective_users),
                "by_shift_kind": _by_shift_kind(feedback, codes, kinds),
                "explored": _explored(feedback, codes, catalogue),
            }
        )
    return pa.Table.from_pylist(rows, schema=RECOMMENDATION_OUTCOMES.schema)


def user_outcomes(recommendations: pa.Table, events_after: pa.Table, horizon_days: int) -> pa.Table:
    """Rows of `experiments.USER_OUTCOMES`: the outcome of every user's recommendations within their horizon.

    Args:
        recommendations: `recommendations` of one segment, of one or several days.
        events_after: clean_events of the segment that cover the `horizon_days` after each of the days.
        horizon_days: Days after a recommendation that count.
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
    """Events of the `horizon_days` after `day`, without returns."""
    last = day + timedelta(days=horizon_days)
    return events.filter((pc.field("day") > day) & (pc.field("day") <= last) & (pc.field("behavior") != "return"))


def _estimates(
    feedback: _Feedback, catalogue: _Catalogue, samples: int, seed: int, minimum_effective_users: float
) -> dict[str, object]:
    """Columns of the estimates of one policy, with their intervals, and of the users that they are from."""
    slates, hits, bought, relevant = feedback
    evaluated = relevant > 0
    draws, all_draws = resamples(int(evaluated.sum()), samples, seed), resamples(len(evaluated), samples, seed)
    shown = slates.items >= 0
    novelty = np.asarray(np.where(shown, catalogue.information[slates.items], 0.0).sum(axis=1), dtype=np.float64)
    value = _off_policy(feedback, catalogue, minimum_effective_users, draws)

    def mean(values: Float64Array) -> Estimate | None:
        return ratio_estimate(values, np.ones(len(values)), draws)

    estimates = {
        "recall_at_k": mean(recall_at_k(hits[evaluated], relevant[evaluated])),
        "ndcg_at_k": mean(ndcg_at_k(hits[evaluated], relevant[evaluated])),
        "click_rate": mean(_any_rank(hits[evaluated])),
        "purchase_rate": mean(_any_rank(bought[evaluated])),
        "coverage": _coverage(slates.items, catalogue.size, all_draws),
        "novelty": ratio_estimate(novelty, np.asarray(shown.sum(axis=1), dtype=np.float64), all_draws),
        "ips": value.ips,
        "snips": value.snips,
        "dr": value.dr,
    }
    columns: dict[str, object] = {
        "users": int(evaluated.sum()),
        "effective_users": value.effective_users,
        "off_policy_note": value.note,
    }
    for name, estimate in estimates.items():
        columns[name] = estimate.value if estimate else None
        columns[f"{name}_low"] = estimate.low if estimate else None
        columns[f"{name}_high"] = estimate.high if estimate else None
    return columns


def _off_policy(
    feedback: _Feedback, catalogue: _Catalogue, minimum_effective_users: float, draws: Int64Array
) -> OffPolicyEstimates:
    """Value of the policy without exploration, over the evaluated users."""
    slates, evaluated = feedback.slates, feedback.relevant > 0
    shown = slates.items >= 0
    # One probability per rank, whatever item is shown: the item that exploration replaced is not known.
    click_probability = np.where(shown, catalogue.click_probability[slates.items], 0.0).sum(axis=0) / np.maximum(
        shown.sum(axis=0), 1
    )
    expected = np.where(shown, click_probability, 0.0)[evaluated]
    logged = LoggedFeedback(
        rewards=feedback.hits[evaluated].astype(np.float64),
        behaviour=slates.propensities[evaluated],
        target=(shown & ~slates.explored)[evaluated].astype(np.float64),
        shown=shown[evaluated],
        expected=expected,
        expected_of_target=expected,
    )
    return off_policy(logged, minimum_effective_users, draws)


def _by_shift_kind(feedback: _Feedback, codes: _Codes, kind_of: dict[str, str]) -> list[dict[str, object]]:
    """Users, and those with a click or purchase, by kind of the user's open alert."""
    names = codes.users.take(pa.array(feedback.slates.users)).to_pylist()
    kinds = np.array([kind_of.get(name, NO_SHIFT) for name in names])
    return [
        {
            "shift_kind": kind,
            "users": int((kinds == kind).sum()),
            "clicked": int(feedback.hits[kinds == kind].any(axis=1).sum()),
            "purchased": int(feedback.bought[kinds == kind].any(axis=1).sum()),
        }
        for kind in sorted(set(kinds.tolist()))
    ]


def _explored(feedback: _Feedback, codes: _Codes, catalogue: _Catalogue) -> list[dict[str, object]]:
    """Shown items with a random draw at their rank, and hits among them, by category of the item."""
    slates = feedback.slates
    drawn = (slates.items >= 0) & (slates.propensities < 1)
    if not drawn.any():
        return []
    named = (catalogue.categories[name].to_pylist() for name in ("item_id", "category"))
    category_of = dict(sorted(zip(*named, strict=True)))
    names = codes.items.take(pa.array(slates.items[drawn])).to_pylist()
    counts: dict[str, list[int]] = {}
    for name, found in zip(names, feedback.hits[drawn].tolist(), strict=True):
        of_category = counts.setdefault(category_of[name], [0, 0])
        of_category[0] += 1
        of_category[1] += found
    return [{"category": name, "shown": shown, "met": own} for name, (shown, own) in sorted(counts.items())]


def _slates_of(rows: pa.Table, codes: _Codes) -> _Slates:
    """The slates of rows of `recommendations` of one policy."""
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
    """Whether [user, rank] the user has an event with the shown item, and the number [user] of items with events."""
    users, items = codes.user(events["user_id"]), codes.item(events["item_id"])
    row = np.full(len(codes.users) + 1, -1)
    row[slates.users] = np.arange(len(slates.users))
    listed = row[users] >= 0
    pairs = np.unique(row[users[listed]] * len(codes.items) + items[listed])
    own = np.arange(len(slates.users))[:, None] * len(codes.items) + slates.items
    hits = np.isin(own, pairs) & (slates.items >= 0)
    return hits, np.bincount(pairs // max(len(codes.items), 1), minlength=len(slates.users))


def _any_rank(flags: BoolArray) -> Float64Array:
    """1 where any rank [user, rank] is flagged, else 0."""
    return np.asarray(flags.any(axis=1), dtype=np.float64)


def _coverage(items: Int64Array, catalogue_size: int, draws: Int64Array) -> Estimate | None:
    """Distinct items of all slates over the size of the catalogue.

    A bootstrap sample holds 63 % of the users and so fewer distinct items; the interval is shifted up by that bias.
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
    """Distinct names, sorted, so that a seed draws the same users for any order of rows."""
    names = pc.unique(pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string()))
    return names.take(pc.sort_indices(names))


def _index_in(names: pa.ChunkedArray, among: pa.Array) -> Int64Array:
    """Index of every name in `among`, -1 where it is missing."""
    found = pc.fill_null(pc.index_in(names, value_set=among), -1)
    return np.asarray(found.to_numpy(), dtype=np.int64)
