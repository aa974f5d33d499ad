"""Out-of-time comparison of the forecasters, each with parameters searched on an earlier week."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from shift_assets.arrays import Float64Array
from shift_assets.forecast.base import Forecaster, Parameters, Predictor
from shift_assets.forecast.conformal import conformal_quantile, minimum_residuals, spread, user_residuals
from shift_assets.forecast.features import Examples, examples
from shift_assets.forecast.registry import FORECASTERS
from shift_assets.forecast.weeks import Weeks
from shift_assets.settings.root import ForecastSettings

MINIMUM_ROWS = 30
"""Rows with a known target below which a week can neither train, calibrate a band nor evaluate."""

FOLDS = 3
"""Newest weeks on which models are compared, each out of time."""

LEAST_SHARE = 0.01
"""Forecasts below this share are not stored."""

ROUNDING = 1e-12
"""Variance of shares up to which they count as constant: it is rounding."""


@dataclass(frozen=True)
class ForecastScore:
    """Metrics of one forecaster on the out-of-time weeks."""

    model: str
    parameters: Parameters
    n_rows: int
    mse: float
    mae: float
    variance: float  # of the actual shares: mean squared error of their mean
    coverage: float  # share of user-weeks with every category inside its band
    band: float  # mean half-width

    @property
    def r2(self) -> float | None:
        """1 - squared error over that of the mean share; None where all rows had the same share."""
        return r2(self.mse, self.variance)


def r2(mse: float, variance: float) -> float | None:
    """Coefficient of determination; None where nothing varied.

    >>> r2(mse=0.1, variance=0.4)
    0.75
    """
    return 1.0 - mse / variance if variance > ROUNDING else None


def predict_bounded(predictor: Predictor, rows: Examples) -> Float64Array:
    """Forecast share of every row, within 0..1."""
    return np.clip(predictor.predict(rows), 0.0, 1.0)


def drop_small_shares(share: Float64Array) -> Float64Array:
    """Set forecasts below `LEAST_SHARE` to 0, as they are stored."""
    return np.where(share < LEAST_SHARE, 0.0, share)


def compare(
    weeks: Weeks,
    settings: ForecastSettings,
    seed: int,
    members: Collection[str] = tuple(FORECASTERS),
    on_progress: Callable[[str], None] = lambda _: None,
) -> list[ForecastScore]:
    """Evaluate forecasters on the newest `FOLDS` weeks, in the order of the registry.

    As in service, the forecaster of a week is fitted on the weeks up to two before it, and the week between calibrates
    the band. The parameters are those of the grid with the smallest squared error on the week before the first
    evaluated one, fitted on the weeks before that.

    Args:
        weeks: the scores; the newest `FOLDS` weeks are evaluated.
        settings: history and coverage.
        seed: seed of the forecasters.
        members: names of the forecasters to evaluate.
        on_progress: called with the name of each forecaster, before it is fitted.

    Returns:
        One score per forecaster; none where any week has too few rows or users.
    """
    end = weeks.score.shape[1]
    rows = examples(weeks, range(settings.history_weeks, end), settings).known()
    folds = range(end - FOLDS, end)
    parts = [rows.week < folds[0] - 1, *(rows.week == week for week in range(folds[0] - 1, end))]
    n_users = [len(np.unique(weeks.user[rows.pair[part]])) for part in parts]
    if min(int(part.sum()) for part in parts) < MINIMUM_ROWS or min(n_users) < minimum_residuals(settings.coverage):
        return []
    found = []
    for name, member in FORECASTERS.items():
        if name in members:
            on_progress(name)
            found.append(_evaluate(name, member, weeks, rows, folds=folds, settings=settings, seed=seed))
    return found


def calibrate_quantile(weeks: Weeks, rows: Examples, predictor: Predictor, settings: ForecastSettings) -> float:
    """Return the conformal quantile of a fitted forecaster on the rows of one week of `weeks`."""
    return conformal_quantile(
        user_residuals(weeks, rows, drop_small_shares(predict_bounded(predictor, rows))), settings.coverage
    )


def _evaluate(
    name: str,
    member: Forecaster,
    weeks: Weeks,
    rows: Examples,
    *,
    folds: range,
    settings: ForecastSettings,
    seed: int,
) -> ForecastScore:
    parameters, first = _search(member, rows, folds[0] - 1, seed)
    residual, inside, width = [], [], []
    for week in folds:
        predictor = first if week == folds[0] else member.fit(rows.where(rows.week < week - 1), parameters, seed)
        quantile = calibrate_quantile(weeks, rows.where(rows.week == week - 1), predictor, settings)
        test_rows = rows.where(rows.week == week)
        forecast = predict_bounded(predictor, test_rows)
        residual.append(test_rows.target - forecast)
        inside.append(user_residuals(weeks, test_rows, drop_small_shares(forecast)) <= quantile)
        width.append(quantile * spread(forecast))
    errors = np.concatenate(residual)
    return ForecastScore(
        name,
        parameters,
        len(errors),
        float(np.mean(errors**2)),
        float(np.mean(np.abs(errors))),
        float(np.var(rows.target[rows.week >= folds[0]])),
        float(np.mean(np.concatenate(inside))),
        float(np.mean(np.concatenate(width))),
    )


def _search(member: Forecaster, rows: Examples, week: int, seed: int) -> tuple[Parameters, Predictor]:
    """The parameters with the smallest squared error on `week`, and the forecaster fitted on the weeks before it."""
    train_rows, test_rows = rows.where(rows.week < week), rows.where(rows.week == week)
    fits = [(parameters, member.fit(train_rows, parameters, seed)) for parameters in member.grid]
    return min(fits, key=lambda fit: float(np.mean((test_rows.target - predict_bounded(fit[1], test_rows)) ** 2)))
