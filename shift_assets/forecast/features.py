"""Features of the forecasts: lags, differences, moving averages and the calendar, per user and category."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from jaxtyping import Float64, Int64

from shift_assets.arrays import BoolArray, Float64Array, Int64Array
from shift_assets.forecast.weeks import DAYS, Weeks
from shift_assets.settings.root import ForecastSettings

LAGS = 4
MEAN_WEEKS = 4
EWMA_HALF_LIFE_WEEKS = 2
"""Half-life of the smoothed share."""
SEASONS = ("spring", "summer", "autumn")
"""Seasons with a feature each; winter, which begins with December, is the reference."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Features of user and category pairs at the end of a week, and the share of the next week as target."""

    names: tuple[str, ...]  # [feature]
    features: Float64[Float64Array, "row feature"]
    history: Float64[Float64Array, "row week channel"]
    """Channels: share (carried over weeks without a visit), whether the user came, the segment's share."""
    target: Float64[Float64Array, " row"]  # share of the next week; nan where unknown, or the user did not come
    pair: Int64[Int64Array, " row"]  # position in `Weeks`
    week: Int64[Int64Array, " row"]  # the forecast week's position in `Weeks`

    def __len__(self) -> int:
        return len(self.pair)

    def column(self, name: str) -> Float64Array:
        """The feature called `name`, [row]."""
        return np.asarray(self.features[:, self.names.index(name)])

    def where(self, mask: BoolArray | Int64Array) -> Examples:
        """Only the rows that `mask` marks, or the rows at these positions."""
        return Examples(
            self.names,
            self.features[mask],
            self.history[mask],
            self.target[mask],
            self.pair[mask],
            self.week[mask],
        )

    def known(self) -> Examples:
        """Only the rows whose target is known."""
        return self.where(~np.isnan(self.target))


def concatenate_examples(parts: Sequence[Examples]) -> Examples:
    """The rows of all parts."""
    return Examples(
        parts[0].names,
        *(
            np.concatenate([getattr(part, field) for part in parts])
            for field in ("features", "history", "target", "pair", "week")
        ),
    )


def examples(weeks: Weeks, targets: Iterable[int], settings: ForecastSettings) -> Examples:
    """Return one row per target week and pair with a score in the `history_weeks` weeks before the target.

    The share of a week without a visit is that of the last visit before it, or else of the first one after it within
    the history: features never use anything later than the history.

    Args:
        weeks: the scores.
        targets: positions of the weeks to forecast; the position after the last week is the future, whose targets are
            unknown.
        settings: length of the history, and the smoothing.
    """
    return concatenate_examples([_week_examples(weeks, target, settings) for target in targets])


def _week_examples(weeks: Weeks, target: int, settings: ForecastSettings) -> Examples:
    past = slice(target - settings.history_weeks, target)
    pair = np.flatnonzero(weeks.score[:, past].any(axis=1))
    user, category = weeks.user[pair], weeks.category[pair]
    score, total = weeks.score[pair, past], weeks.total[user, past]
    visited = total > 0
    share = _fill_missing_weeks(score, total, visited)
    segment_share = weeks.segment[:, past]
    segment_share = (segment_share / np.maximum(segment_share.sum(axis=0), np.finfo(float).tiny))[category]
    columns = {
        **{f"lag_{lag}": share[:, -lag] for lag in range(1, LAGS + 1)},
        **{f"difference_{lag}": share[:, -lag] - share[:, -lag - 1] for lag in range(1, LAGS)},
        f"mean_{MEAN_WEEKS}_weeks": share[:, -MEAN_WEEKS:].mean(axis=1),
        f"mean_{settings.history_weeks}_weeks": share.mean(axis=1),
        "ewma": _ewma(share),
        "profile_share": score.sum(axis=1) / total.sum(axis=1),
        "weeks_since_met": np.argmax(score[:, ::-1] > 0, axis=1).astype(np.float64),
        "visited_weeks": visited.mean(axis=1),
        "segment_share": segment_share[:, -1],
        "segment_difference": segment_share[:, -1] - segment_share[:, -2],
        "weekend_share": weeks.weekend[user, past].sum(axis=1) / total.sum(axis=1),
        **_calendar(weeks.last_day + timedelta(days=DAYS * (target + 1 - weeks.score.shape[1])), len(pair)),
    }
    if target < weeks.score.shape[1]:
        with np.errstate(invalid="ignore"):
            known = weeks.score[pair, target] / weeks.total[user, target]
    else:
        known = np.full(len(pair), np.nan)
    return Examples(
        tuple(columns),
        np.stack(list(columns.values()), axis=1),
        np.stack([share, visited, segment_share], axis=2),
        known,
        pair,
        np.full(len(pair), target, dtype=np.int64),
    )


def _fill_missing_weeks(score: Float64Array, total: Float64Array, visited: BoolArray) -> Float64Array:
    """Shares [row, week]; weeks without a visit take the last share before, those before the first visit the first."""
    n_rows, n_weeks = score.shape
    week = np.where(visited, np.arange(n_weeks), -1)
    filled_from = np.maximum.accumulate(week, axis=1)
    filled_from = np.where(filled_from < 0, np.argmax(visited, axis=1)[:, None], filled_from)
    row = np.arange(n_rows)[:, None]
    return np.asarray(score[row, filled_from] / total[row, filled_from])


def _ewma(share: Float64Array) -> Float64Array:
    """Return the exponentially weighted mean of the shares [row, week], [row]."""
    weight = 2.0 ** (-np.arange(share.shape[1])[::-1] / EWMA_HALF_LIFE_WEEKS)
    return np.asarray(share @ (weight / weight.sum()))


def _calendar(last_day: date, n_rows: int) -> dict[str, Float64Array]:
    """Month and season of the middle of the week that ends on `last_day`, the same for every row."""
    middle = last_day - timedelta(days=DAYS // 2)
    angle = 2 * np.pi * (middle.month - 1) / 12
    season = middle.month % 12 // 3 - 1
    values = {
        "month_sine": np.sin(angle),
        "month_cosine": np.cos(angle),
        **{f"season_{name}": float(number == season) for number, name in enumerate(SEASONS)},
    }
    return {name: np.full(n_rows, value, dtype=np.float64) for name, value in values.items()}
