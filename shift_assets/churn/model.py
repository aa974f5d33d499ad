"""The churn model of a segment: BG/NBD, its stack with the interest model's head, and the threshold of warnings."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float64

from shift_assets.arrays import Float64Array
from shift_assets.churn.bg_nbd import HORIZON_DAYS, ChurnParameters, Visits, maximum_likelihood
from shift_assets.churn.history import VisitHistory
from shift_assets.churn.stack import (
    WEEKS,
    ChurnOutcomes,
    design,
    fit_by_visits,
    fit_stacked,
    head_helps,
    probabilities,
)
from shift_assets.churn.threshold import WarningThreshold, choose_threshold, may_open
from shift_assets.contracts.day import day_number
from shift_assets.settings.root import ChurnSettings

FIT_USERS = 2_000
"""Users of a segment that BG/NBD is fitted on."""
OUTCOME_USERS = 10_000
"""Users of a segment whose outcomes calibrate the stack and its threshold."""
MINIMUM_USERS = 30
"""Users, and users with more than one visit, below which nothing is fitted."""
MINIMUM_WARNINGS = 30
"""Past warnings below which a segment without a threshold takes the model of all segments."""
REPLAYED_DAYS = 7 * WEEKS
"""Days whose warnings are replayed for the threshold."""
HEAD_WINDOW_DAYS = HORIZON_DAYS + REPLAYED_DAYS + 1
"""Days of the head's predictions, up to that of the state, that a fit reads."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChurnModel:
    """A fitted churn model.

    Attributes:
        parameters: BG/NBD.
        by_visits: weights [feature] without the head.
        stacked: weights [feature] with the head; None where it did not help, or too few of its outcomes are known.
        threshold: of warnings.
        pooled: whether it was fitted on all segments together.
    """

    parameters: ChurnParameters
    by_visits: Float64Array
    stacked: Float64Array | None
    threshold: WarningThreshold
    pooled: bool = False

    def probabilities(self, visits: Visits, head: Float64[Float64Array, " user"]) -> Float64[Float64Array, " user"]:
        """P(no visit in the next `HORIZON_DAYS` days); `head` is the model's own, nan where it made none."""
        return probabilities(design(visits, self.parameters, head), self.by_visits, self.stacked)


class HeadPredictions:
    """The interest model's churn probabilities by day and user; nan where there are none."""

    def __init__(self, predictions: pa.Table) -> None:
        """Read columns `day`, `user_id` and `churn_probability` of `model_predictions`."""
        made = predictions.select(["day", "user_id", "churn_probability"]).drop_null().sort_by("day")
        self._users, self._values = made["user_id"], made["churn_probability"].to_numpy()
        self._days = made["day"].cast(pa.int32()).to_numpy()

    def on(self, day: int, users: pa.ChunkedArray) -> Float64[Float64Array, " user"]:
        """Probabilities of `users` at the end of `day`."""
        first, last = (int(end) for end in np.searchsorted(self._days, [day, day + 1]))
        if first == last:
            return np.full(len(users), np.nan)
        row = pc.index_in(users, value_set=self._users.slice(first, last - first).combine_chunks())
        found = np.append(self._values[first:last], np.nan)
        return np.asarray(found[pc.fill_null(row, last - first).to_numpy()])


def segment_model(
    state: pa.Table,
    all_states: Callable[[], pa.Table],
    day: date,
    heads: HeadPredictions,
    settings: ChurnSettings,
) -> ChurnModel | None:
    """Fit the model of a segment, or of all segments where its own log is too short for one.

    Args:
        state: `interest_state` of the segment as of the end of `day`.
        all_states: reads the same of every segment, where it is needed.
        day: day of the states.
        heads: predictions of the interest model of all segments; those after `day` are not read.
        settings: stated precision, and the visits of a rhythm.

    Returns:
        The model; None where all segments together have fewer than `MINIMUM_USERS` users with more than one visit.
    """
    own = fit_churn(state, day, heads, settings)
    if own is not None and (own.threshold.value is not None or own.threshold.n_warnings >= MINIMUM_WARNINGS):
        return own
    pooled = fit_churn(all_states(), day, heads, settings)
    return own if pooled is None else replace(pooled, pooled=True)


def fit_churn(state: pa.Table, day: date, heads: HeadPredictions, settings: ChurnSettings) -> ChurnModel | None:
    """Fit the churn model on a state; deterministic, whatever the order of rows.

    The users are the first by their pseudonyms, which are keyed digests: a random sample. Every prediction day of the
    stack has the BG/NBD that was fitted as of it, so that the stack sees errors of predictions and not of a fit.

    Args:
        state: `interest_state` as of the end of `day`, of one segment or all.
        day: day of the state.
        heads: predictions of the interest model.
        settings: stated precision, and the visits of a rhythm.

    Returns:
        The model; None where there are fewer than `MINIMUM_USERS` users with more than one visit.
    """
    begin = time.perf_counter()
    sample = state.sort_by("user_id").slice(0, OUTCOME_USERS)
    history = VisitHistory(sample, day)
    parameters = _fitted(history.now)
    if parameters is None:
        return None
    users, last = sample["user_id"], day_number(day) - HORIZON_DAYS
    outcomes = _known_outcomes(history, users, last, heads)
    model = ChurnModel(
        parameters,
        np.array([0.0, 1.0, 0.0, 0.0]) if outcomes is None else fit_by_visits(outcomes),
        fit_stacked(outcomes) if outcomes is not None and head_helps(outcomes) else None,
        WarningThreshold(None, 0, None, None),
    )
    found = replace(model, threshold=_threshold(model, history, users, heads, settings, last=last))
    _log.info("churn model: fitted on %d users in %.1f s", len(sample), time.perf_counter() - begin)
    return found


def _fitted(visits: Visits) -> ChurnParameters | None:
    if int((visits.frequency > 0).sum()) < MINIMUM_USERS:
        return None
    return maximum_likelihood(visits.take(np.arange(min(len(visits), FIT_USERS))))


def _known_outcomes(
    history: VisitHistory, users: pa.ChunkedArray, last: int, heads: HeadPredictions
) -> ChurnOutcomes | None:
    """Predictions of every week up to day `last`, back to the first with enough users."""
    parts = []
    for week in range(WEEKS):
        day = last - 7 * week
        known = history.known(day)
        visits = history.as_of(day).take(known)
        parameters = _fitted(visits)
        if parameters is None:
            break
        features = design(visits, parameters, heads.on(day, users)[known])
        parts.append((features, history.churned(day)[known], np.full(len(visits), float(week))))
    return ChurnOutcomes(*(np.concatenate(part) for part in zip(*parts, strict=True))) if parts else None


def _threshold(
    model: ChurnModel,
    history: VisitHistory,
    users: pa.ChunkedArray,
    heads: HeadPredictions,
    settings: ChurnSettings,
    *,
    last: int,
) -> WarningThreshold:
    """Replay the last `REPLAYED_DAYS` days whose outcomes are known by day `last` and choose."""
    rows = []
    head_before = heads.on(last - REPLAYED_DAYS, users)
    for day in range(last - REPLAYED_DAYS + 1, last + 1):
        visits, head = history.as_of(day), heads.on(day, users)
        rows.append(
            (
                model.probabilities(visits, head),
                model.probabilities(visits.before(1.0), head_before),
                may_open(visits, settings.minimum_active_days) & history.known(day),
                history.churned(day),
            )
        )
        head_before = head
    now, day_before, may, churned = (np.stack(part) for part in zip(*rows, strict=True))
    return choose_threshold(now, day_before, may, churned, settings.precision)
