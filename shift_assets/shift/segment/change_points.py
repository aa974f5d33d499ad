"""Change points of one series of numbers, in retrospect and as the values arrive.

Bayesian online change-point detection (Adams & MacKay, "Bayesian Online Changepoint Detection", arXiv 0710.3742).
Between two change points a series is

    y = level + slope * age + u,    (1 - rho L)(1 - phi L) u = e,    e ~ N(0, variance),

L being the lag, and level, slope and variance the regime's own, under a normal-inverse-gamma prior: the predictive
is Student's t, and changes of level, trend and variance are all found. Autocorrelation is part of the model, so that
it is not mistaken for changes (compare the decorrelation of Chakar et al., Bernoulli 2017). A value may also be an
outlier, Cauchy-distributed around its prediction; its weight in the regime's update is then reduced (West, JRSS B
1984). The roots rho, phi and the freedom of the slope are hyperparameters on a small grid, weighted by their evidence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from shift_assets.arrays import Float64Array, Int64Array

RECENT = 10
"""Observed values within which a change counts as recent."""

_ROOTS = ((0.0, 0.0), (0.5, 0.0), (0.8, 0.0), (0.95, 0.0), (0.99, 0.0), (0.99, 0.5), (0.99, 0.9))
_SLOPES = (0.0, 3.0)
"""Prior standard deviation of the slope over a whole series, in spreads of the series; 0 for no slope."""
_MODELS = tuple((roots, slope) for roots in _ROOTS for slope in _SLOPES)
_OUTLIERS = 0.02
"""Prior probability that a value is an outlier."""
_SHAPE = 2.0
"""Prior shape of a regime's variance: the weight of four values."""
_MAXIMUM_STARTS = 30
"""Number of most probable starts of the current regime that are carried: bounds time and memory."""
_FARTHEST = 1e6
"""Spreads from the centre at which values are clipped, so that squares stay finite."""
_NO_SLOPE = 1e12
"""Prior precision of a slope fixed at zero."""
_MINIMUM_VALUES = 8
"""Observed values below which no change is reported."""
_MINIMUM_LENGTH = 100
"""Minimum length assumed of an arriving series: one change is expected over its length so far."""
_REFRESH = 1.25
"""Growth of an arriving series after which its scales are computed again."""
_MINIMUM_POSTERIOR = 0.5
"""Posterior below which a change point of the most probable segmentation is dropped."""

# Columns of a regime hypothesis: precision (3) and mean (2) of level and slope in units of the variance, shape and
# rate of the variance, last value cleaned of outliers, age, and the regressors and value before the second root.
_K00, _K01, _K11, _LEVEL, _SLOPE, _A, _B, _LAST, _AGE, _X0, _X1, _Z, _COLUMNS = range(13)


@dataclass(frozen=True, slots=True)
class ChangePoints:
    """Change points of a series, given all of it."""

    index: Int64Array
    """[change], ascending: position of the first value of a new regime."""
    posterior: Float64Array
    """[change]: probability of a change between the change points before and after."""
    probability: Float64Array
    """[position]: probability that the change point found nearby is exactly here; 0 elsewhere."""


@dataclass(frozen=True, slots=True)
class OnlineChanges:
    """Changes as known when each value arrived: entries never depend on later values."""

    recent: Float64Array
    """[position]: probability of a change within the last `RECENT` observed values; 0 for the first 8 values."""
    run_length: Int64Array
    """[position]: most probable number of values since the last change, the newest included."""


def change_points(values: ArrayLike, *, period: int | None = None) -> ChangePoints:
    """Return the change points of a series: the most probable segmentation under the best model.

    Args:
        values: raw values by position: any scale and offset, integers, gaps (nan or infinite: missing). Fewer than 8
            observed values and constant series have no change.
        period: length of a season whose effect is removed first, such as 7 for days.

    >>> change_points([0.0, 0.1] * 10 + [9.0, 9.1] * 10).index.tolist()
    [20]
    """
    n, position, y = _observed(values)
    probability = np.zeros(n)
    if len(y) < _MINIMUM_VALUES or _first_change_in_value(y) == len(y):
        return ChangePoints(np.zeros(0, dtype=np.int64), np.zeros(0), probability)
    y = y - _season(y, position, period)
    gap = np.diff(position, prepend=position[0]).astype(np.float64)
    scales = np.repeat(_scales(y)[None, :], len(y), axis=0)
    runs = [_forward_filter(y, gap, _priors(scales, roots, slope, len(y)), roots) for roots, slope in _MODELS]
    best = int(np.argmax([evidence[-1] for evidence, *_ in runs]))
    found = _backtrack(runs[best][2], runs[best][3])
    roots, slope = _MODELS[best]
    priors = _priors(scales, roots, slope, len(y))
    while True:
        edges = [0, *found, len(y)]
        posterior, exactly = [], np.zeros(len(y))
        for first, last in zip(edges, edges[2:], strict=False):
            part = slice(first, last)
            *_, starts, weight = _forward_filter(y[part], gap[part], priors[part], roots)
            posterior.append(float(weight[starts > 0].sum()))
            np.maximum.at(exactly, first + starts[starts > 0], weight[starts > 0])
        if not found or min(posterior) >= _MINIMUM_POSTERIOR:
            break
        found.pop(int(np.argmin(posterior)))
    if found:
        probability[position] = exactly
    return ChangePoints(position[found], np.array(posterior[: len(found)]), probability)


def online_changes(values: ArrayLike, *, period: int | None = None) -> OnlineChanges:
    """Return the run-length posterior of a series as its values arrive.

    Scales, seasonal effects and the weights of the models are those of the past at every position, so the entries of
    a longer series begin with those of a shorter one. A missing value repeats the entry before it.

    Args:
        values: as in `change_points`.
        period: as in `change_points`.
    """
    n, position, y = _observed(values)
    y = y - _season_so_far(y, position, period or 1)
    silent = max(_MINIMUM_VALUES, _first_change_in_value(y) + 1)
    recent, run_length = np.zeros(len(y)), np.arange(1, len(y) + 1)
    if len(y) >= silent:
        scales = _scales_so_far(y, silent)
        gap = np.diff(position, prepend=position[0]).astype(np.float64)
        length = np.maximum(np.arange(1.0, len(y) + 1), _MINIMUM_LENGTH)
        runs = [_forward_filter(y, gap, _priors(scales, roots, slope, length), roots) for roots, slope in _MODELS]
        evidence = np.array([run[0] for run in runs])  # [model, value]
        weight = np.exp(evidence - evidence.max(axis=0))
        weight /= weight.sum(axis=0)
        start = np.array([run[2] for run in runs])[evidence.argmax(axis=0), np.arange(len(y))]
        reported = slice(silent - 1, None)
        recent[reported] = (weight * np.array([run[1] for run in runs])).sum(axis=0)[reported]
        run_length[reported] = (run_length - start)[reported]
    newest = np.searchsorted(position, np.arange(n), side="right")
    return OnlineChanges(np.append(0.0, recent)[newest], np.append(0, run_length)[newest])


def _observed(values: ArrayLike) -> tuple[int, Int64Array, Float64Array]:
    """Number of positions; positions and values that are not missing, scaled by a power of two to at most 1."""
    y = np.asarray(values, dtype=np.float64).ravel()
    position = np.flatnonzero(np.isfinite(y))
    y_observed = y[position]
    _, exponent = np.frexp(np.abs(y_observed).max(initial=0.0))
    return len(y), position, np.ldexp(y_observed, -exponent)


def _first_change_in_value(y: Float64Array) -> int:
    """Position of the first value that differs from the first by more than rounding; len(y) for a constant."""
    differs = np.abs(y - y[:1]) > 1e-12 * np.maximum.accumulate(np.abs(y))
    return int(differs.argmax()) if differs.any() else len(y)


def _scales(y: Float64Array) -> Float64Array:
    """Centre, standard deviation of the noise, and spread; [3].

    The noise is measured by the median step or, where most steps are small and some are large, by the mean step, so
    that a series that often jumps has no change at every jump.
    """
    centre = float(np.median(y))
    unit = float(np.abs(y - centre).max())
    away = (y - centre) / unit
    steps = np.diff(away)
    steps = np.abs(steps - np.median(steps))
    noise = max(1.4826 * float(np.median(steps)), 1.2533 * float(steps.mean()))
    spread = max(float(away.std()), float(np.ptp(np.quantile(away, (0.1, 0.9)))) / 2)
    return np.array([centre, unit * max(noise / math.sqrt(2), 1e-3 * spread), unit * spread])


def _scales_so_far(y: Float64Array, silent: int) -> Float64Array:
    """Scales of the past at every value, [value, 3]; the first `silent` values share theirs."""
    out, due = np.zeros((len(y), 3)), silent
    while due <= len(y):
        out[0 if due == silent else due - 1 :] = _scales(y[:due])
        due = max(due + 1, math.ceil(due * _REFRESH))
    return out


def _priors(
    scales: Float64Array, roots: tuple[float, float], slope: float, length: float | Float64Array
) -> Float64Array:
    """Prior of a regime that starts at a value, [value, 5]: centre, innovation, spread, slope, hazard.

    length: values of the series, over which one change is expected.
    """
    rho, phi = roots
    centre, noise, spread = scales.T
    correlation = (rho + phi) / (1 + rho * phi)
    variance = (1 + rho * phi) / ((1 - rho * phi) * ((1 + rho * phi) ** 2 - (rho + phi) ** 2))
    # The noise was measured by differences of u, whose variance is 2 (1 - correlation) variance.
    innovation = noise / math.sqrt((1 - correlation) * variance)
    hazard = np.minimum(0.5, np.ones(len(scales)) / length)
    return np.stack([centre, innovation, spread, slope * spread / length, hazard], axis=1)


def _season(y: Float64Array, position: Int64Array, period: int | None) -> Float64Array:
    """Seasonal effect at every value: the median deviation of its phase from the level of the cycle around it."""
    if period is None or period < 2 or np.ptp(position) < 2 * period:
        return np.zeros(len(y))
    first = np.searchsorted(position, position - period // 2)
    last = np.searchsorted(position, position - period // 2 + period)
    around = np.array([np.median(y[a:b]) for a, b in zip(first, last, strict=True)])
    phase = position % period
    effects = np.array([np.median((y - around)[phase == p]) if (phase == p).any() else 0.0 for p in range(period)])
    return effects[phase]


@njit(cache=True)
def _season_so_far(y: Float64Array, position: Int64Array, period: int) -> Float64Array:
    """Seasonal effect from the past alone: from the third cycle on, deviations from the level of the cycle before."""
    effect, deviation = np.zeros(len(y)), np.zeros(len(y))
    phase = position % max(period, 1)
    first = 0
    for t in range(len(y)):
        while position[first] <= position[t] - period:
            first += 1
        deviation[t] = y[t] - np.median(y[first : t + 1])
        known = deviation[:t][phase[:t] == phase[t]]
        if period > 1 and position[t] - position[0] >= 2 * period and len(known) > 0:
            effect[t] = np.median(known)
    return effect


def _backtrack(start: Int64Array, before: Int64Array) -> list[int]:
    """Change points of the most probable segmentation, ascending."""
    found: list[int] = []
    at = int(start[-1])
    while at > 0:
        found.insert(0, at)
        at = int(before[at])
    return found


@njit(cache=True)
def _log_sum(weight: Float64Array) -> float:
    largest = weight.max()
    return float(largest + np.log(np.exp(weight - largest).sum()))


@njit(cache=True)
def _update_regime(regime: Float64Array, y: float, gap: float, spread: float, roots: tuple[float, float]) -> float:
    """Return the log predictive density of `y` under a regime, and update the regime with it.

    y: less the centre, in innovations, as is spread, the scale of outliers. gap: steps since the last observed value;
    0 for the regime's first.
    """
    rho, phi = roots
    first = gap == 0
    if first:
        # Its first value has no past: u is drawn from its stationary distribution.
        root, scale, age, lagged = 0.0, math.sqrt(1 - rho * rho), 0.0, 0.0
    else:
        root, age = rho if gap == 1 else rho**gap, regime[_AGE] + gap
        scale = math.sqrt((1 - rho * rho) / (1 - root * root)) if rho > 0 else 1.0
        lagged = root * regime[_LAST]
    x0, x1, z = scale * (1 - root), scale * (age - root * (age - gap)), scale * (y - lagged)
    regressor0, regressor1 = x0, x1
    known, jacobian = 0.0, scale
    if phi > 0 and first:
        rest = math.sqrt(1 - phi * phi)
        x0, x1, z, jacobian = x0 * rest, x1 * rest, z * rest, scale * rest
    elif phi > 0:
        known = phi * regime[_Z]
        x0, x1, z = x0 - phi * regime[_X0], x1 - phi * regime[_X1], z - known
    determinant = regime[_K00] * regime[_K11] - regime[_K01] ** 2
    gain0 = (regime[_K11] * x0 - regime[_K01] * x1) / determinant
    gain1 = (regime[_K00] * x1 - regime[_K01] * x0) / determinant
    width = 1 + x0 * gain0 + x1 * gain1
    predicted = x0 * regime[_LEVEL] + x1 * regime[_SLOPE]
    error = z - predicted
    a, b = regime[_A], regime[_B]
    regular = (
        # log gamma(a + 1/2) - log gamma(a) by its asymptotic series: an error below 3e-6 from a = 2 on
        (-1 / 8 + (1 / 192 + (-1 / 640 + 17 / 14336 / a**2) / a**2) / a**2) / a
        + 0.5 * math.log(a / (2 * math.pi * b * width))
        - (a + 0.5) * math.log1p(error * error / (2 * b * width))
        + math.log(jacobian)
    )
    expected = (predicted + known) / jacobian + lagged
    density, share = regular, 1.0
    if not first:
        outlier = -math.log(math.pi * spread) - math.log1p(((y - expected) / spread) ** 2)
        larger = max(regular, outlier)
        density = larger + math.log(
            (1 - _OUTLIERS) * math.exp(regular - larger) + _OUTLIERS * math.exp(outlier - larger)
        )
        share = (1 - _OUTLIERS) * math.exp(regular - density)
    step = share / (1 + share * (width - 1))
    regime[_LEVEL] += gain0 * step * error
    regime[_SLOPE] += gain1 * step * error
    regime[_A] += 0.5 * share
    regime[_B] += 0.5 * step * error * error
    regime[_K00] += share * x0 * x0
    regime[_K01] += share * x0 * x1
    regime[_K11] += share * x1 * x1
    regime[_LAST] = share * y + (1 - share) * expected
    regime[_AGE], regime[_X0], regime[_X1] = age, regressor0, regressor1
    regime[_Z] = scale * (regime[_LAST] - lagged)
    return float(density)


@njit(cache=True)
def _forward_filter(
    y: Float64Array, gap: Float64Array, prior: Float64Array, roots: tuple[float, float]
) -> tuple[Float64Array, Float64Array, Int64Array, Int64Array, Int64Array, Float64Array]:
    """Run the forward recursion over all values, with the `_MAXIMUM_STARTS` most probable starts of the current regime.

    Returns log evidence of the values so far, probability of a recent change, most probable start, and the start
    before a change at the value, [value] each; then the starts carried at the end and their probabilities, [start].
    """
    n = len(y)
    centre, innovation, spread, slope, hazard = prior.T
    regime = np.zeros((_MAXIMUM_STARTS + 2, _COLUMNS))
    start = np.zeros(_MAXIMUM_STARTS + 2, np.int64)
    # Log probability of the values so far and of this start, summed over all earlier changes, and for the most
    # probable earlier changes alone.
    weight, path = np.zeros(_MAXIMUM_STARTS + 2), np.zeros(_MAXIMUM_STARTS + 2)
    evidence, recent = np.zeros(n), np.zeros(n)
    likeliest, before = np.zeros(n, np.int64), np.full(n, -1)
    n_starts = 0
    for t in range(n):
        if n_starts > 0:
            leader = path[:n_starts].argmax()
            before[t] = start[leader]
            weight[n_starts] = evidence[t - 1] + math.log(hazard[t])
            path[n_starts] = path[leader] + math.log(hazard[t])
            weight[:n_starts] += math.log1p(-hazard[t])
            path[:n_starts] += math.log1p(-hazard[t])
        start[n_starts] = t
        regime[n_starts] = 0.0
        regime[n_starts, _A] = regime[n_starts, _B] = _SHAPE
        regime[n_starts, _K00] = (innovation[t] / spread[t]) ** 2
        regime[n_starts, _K11] = (innovation[t] / slope[t]) ** 2 if slope[t] > 0 else _NO_SLOPE
        n_starts += 1
        for j in range(n_starts):
            step = 0.0 if start[j] == t else gap[t]
            unit, centred = innovation[start[j]], y[t] - centre[start[j]]
            farthest = _FARTHEST * spread[start[j]]
            centred = min(max(centred, -farthest), farthest)
            density = _update_regime(regime[j], centred / unit, step, spread[start[j]] / unit, roots) - math.log(unit)
            weight[j] += density
            path[j] += density
        evidence[t] = _log_sum(weight[:n_starts])
        likeliest[t] = start[path[:n_starts].argmax()]
        for j in range(n_starts):
            if start[j] > 0 and t - start[j] < RECENT:
                recent[t] += math.exp(weight[j] - evidence[t])
        if n_starts > _MAXIMUM_STARTS:
            # The newest starts have seen too few values to be dropped; the most probable path must stay whole.
            dropped = -1
            for j in range(1, n_starts):
                proven = t - start[j] >= RECENT // 2 and start[j] != likeliest[t]
                if proven and (dropped < 0 or weight[j] < weight[dropped]):
                    dropped = j
            for j in range(dropped, n_starts - 1):
                regime[j], start[j], weight[j], path[j] = regime[j + 1], start[j + 1], weight[j + 1], path[j + 1]
            n_starts -= 1
    return evidence, recent, likeliest, before, start[:n_starts].copy(), np.exp(weight[:n_starts] - evidence[n - 1])
