"""Forecasts of a user's interest, and their errors."""

from __future__ import annotations

import json
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.contracts.interest import INTEREST_SERIES
from shift_assets.evaluate.forecasts import forecast_report
from shift_assets.forecast.base import Parameters, Predictor
from shift_assets.forecast.choice import choose, served
from shift_assets.forecast.conformal import conformal_quantile
from shift_assets.forecast.feature_selection import select_features
from shift_assets.forecast.features import Examples, examples
from shift_assets.forecast.interest_forecasts import forecast_errors, interest_forecasts, last_refit
from shift_assets.forecast.registry import FORECASTERS
from shift_assets.forecast.validation import ForecastScore, compare
from shift_assets.forecast.weeks import weeks
from shift_assets.outcomes.forecasts import forecast_quality
from shift_assets.settings.root import ForecastSettings

pytestmark = pytest.mark.slow

SETTINGS = ForecastSettings(history_weeks=6, training_weeks=6)
SEED = 7
WEEKDAY = 6


class Unfit:
    """A forecaster that must not be fitted."""

    grid: tuple[Parameters, ...] = ({},)

    def fit(self, examples: Examples, parameters: Parameters, seed: int) -> Predictor:
        raise AssertionError("fitted")


SUNDAY = date(2025, 6, 1)
SEGMENT = "north"


def series_of(rows: list[tuple[date, str, str, float]]) -> pa.Table:
    """Rows of day, user, category, score."""
    days, users, categories, scores = zip(*rows, strict=True)
    none = pa.array(np.zeros(len(rows), dtype=np.int64))
    return INTEREST_SERIES.conform(
        pa.table(
            {
                "day": pa.array(days, pa.date32()),
                "segment": pa.repeat(SEGMENT, len(rows)),
                "user_id": pa.array(users),
                "category": pa.array(categories),
                "score": pa.array(scores),
                **{f"n_{behavior}": none for behavior in BEHAVIORS},
                "amount": none,
            }
        )
    )


@pytest.fixture(scope="module")
def series() -> pa.Table:
    """80 users with tastes of their own, 18 weeks up to `SUNDAY` and two after."""
    random = np.random.default_rng(3)
    tastes = random.dirichlet([0.5] * 5, size=80)
    rows = []
    for number in range(140):
        day = SUNDAY - timedelta(days=125 - number)
        for user in np.flatnonzero(random.random(80) < 0.4):
            scores = random.multinomial(6, tastes[user])
            rows += [(day, f"{user:032x}", f"c{c}", float(n)) for c, n in enumerate(scores) if n]
    return series_of(rows)


def forecasts(series: pa.Table, *days: date) -> pa.Table:
    return interest_forecasts(series, days, SEGMENT, SETTINGS, SEED, refit_weekday=WEEKDAY)


@pytest.mark.parametrize("days_after_refit", [0, 6])
def test_forecasts_ignore_the_future(series: pa.Table, days_after_refit: int) -> None:
    """Rows after the day, and rows older than the declared window, change nothing."""
    day = SUNDAY + timedelta(days=days_after_refit)
    window = series.filter(pc.field("day") >= day - timedelta(days=SETTINGS.window_days - 1))
    window = window.filter(pc.field("day") <= day)
    assert window.num_rows < series.num_rows
    assert forecasts(series, day).equals(forecasts(window, day))


def test_a_day_alone_is_the_day_in_a_range(series: pa.Table) -> None:
    """Rebuilding one partition, in any order of rows, gives the rows that a range run gave."""
    days = [SUNDAY + timedelta(days=number) for number in range(9)]
    together = forecasts(series, *days)
    shuffled = series.take(pa.array(np.random.default_rng(0).permutation(len(series))))
    for day in (days[0], days[5], days[8]):
        alone = forecasts(shuffled, day)
        assert alone.num_rows
        assert alone.equals(together.filter(pc.field("day") == day))


def test_a_week_is_served_by_one_fit() -> None:
    """Every day looks back to the same refit day until the next."""
    refits = {last_refit(SUNDAY + timedelta(days=number), WEEKDAY) for number in range(7)}
    assert refits == {SUNDAY}
    assert last_refit(SUNDAY + timedelta(days=7), WEEKDAY) == SUNDAY + timedelta(days=7)


def test_a_short_log_has_no_forecasts(series: pa.Table) -> None:
    """Nothing is predicted where there is too little to fit on."""
    assert forecasts(series.filter(pc.field("day") > SUNDAY - timedelta(days=10)), SUNDAY).num_rows == 0


def test_features_of_a_week_without_a_visit_carry_the_last_share() -> None:
    """Lags are shares of the newest visits; a difference is that of neighbouring lags."""
    rows = [(0, "a", 3.0), (0, "b", 1.0), (3, "a", 1.0), (3, "b", 1.0), (4, "a", 1.0)]
    log = series_of([(SUNDAY - timedelta(weeks=5 - week), "0" * 32, name, score) for week, name, score in rows])
    found = examples(weeks(log, SUNDAY, 6), [6], SETTINGS)
    assert found.features.shape == (2, len(found.names))
    lags = [found.column(f"lag_{lag}").tolist() for lag in range(1, 5)]
    assert lags == [[1.0, 0.0], [1.0, 0.0], [0.5, 0.5], [0.75, 0.25]]
    assert found.column("difference_2").tolist() == [0.5, -0.5]
    assert found.column("weeks_since_met").tolist() == [1.0, 2.0]
    assert np.isnan(found.target).all()


@pytest.mark.parametrize("name", sorted(FORECASTERS))
def test_every_forecaster_is_deterministic_and_beats_the_mean(series: pa.Table, name: str) -> None:
    """Where tastes are steady each forecaster beats the mean share, and gives the same bits twice."""
    rows = examples(weeks(series, SUNDAY, 12), range(6, 12), SETTINGS).known()
    train_rows, test_rows = rows.where(rows.week < 11), rows.where(rows.week == 11)
    forecaster = FORECASTERS[name]
    first, second = (forecaster.fit(train_rows, forecaster.grid[0], SEED).predict(test_rows) for _ in range(2))
    assert (first == second).all()
    assert np.mean((test_rows.target - first) ** 2) < 0.5 * np.var(test_rows.target)


def test_fitted_forecasters_beat_the_baselines_where_history_helps(series: pa.Table) -> None:
    """With steady tastes and few events a week, the long mean is better than the last weeks, and they find it."""
    found = {quality.model: quality for quality in compare(weeks(series, SUNDAY, 12), SETTINGS, SEED)}
    assert list(found) == list(FORECASTERS)
    assert found["linear"].mse < found["four_week_mean"].mse < found["last_week"].mse
    fitted, mean = found["linear"].r2, found["four_week_mean"].r2
    assert fitted is not None
    assert mean is not None
    assert fitted > mean


def test_selection_finds_what_makes_the_shares(series: pa.Table) -> None:
    """All three methods rank the long-term share high and give nothing to a feature that does not vary."""
    rows = examples(weeks(series, SUNDAY, 12), range(6, 12), SETTINGS).known()
    found = {feature.name: feature for feature in select_features(rows, SEED)}
    assert found["profile_share"].anova_f > found["difference_1"].anova_f
    assert found["profile_share"].lasso_weight > 0
    assert sum(feature.importance for feature in found.values()) == pytest.approx(1)
    constant = found["season_autumn"]
    assert (constant.anova_f, constant.lasso_weight, constant.importance) == (0, 0, 0)


@given(st.integers(20, 60), st.sampled_from([0.5, 0.8, 0.9]), st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_the_conformal_quantile_covers_at_its_level(n: int, level: float, seed: int) -> None:
    """Over many draws of exchangeable residuals a new one lies inside as often as the level says, or a little more."""
    drawn = np.random.default_rng(seed).lognormal(size=(1_000, n + 1))
    covered = np.mean([new <= conformal_quantile(known, level) for *known, new in drawn])
    assert level - 0.05 <= covered <= level + 1 / (n + 1) + 0.05


def test_too_few_residuals_give_an_infinite_quantile() -> None:
    """Below the minimum number for its level the band is infinite."""
    assert conformal_quantile(np.arange(8.0), 0.9) == np.inf
    assert conformal_quantile(np.arange(9.0), 0.9) == 8


def test_the_error_is_above_one_for_users_outside_their_band(series: pa.Table) -> None:
    """About a tenth of steady users fall outside; one who changes to an unknown category falls far outside."""
    made = forecasts(series, SUNDAY)
    changed = made["user_id"][0].as_py()
    after = series.filter((pc.field("day") > SUNDAY) & (pc.field("user_id") != changed))
    monday = SUNDAY + timedelta(days=1)
    errors = forecast_errors(made, pa.concat_tables([after, series_of([(monday, changed, "new", 5.0)])]))
    by_user = dict(zip(errors["user_id"].to_pylist(), errors["forecast_error"].to_pylist(), strict=True))
    assert by_user.pop(changed) > 1.5
    assert np.mean(np.array(list(by_user.values())) > 1) < 0.3
    assert len(by_user) > 50


def test_the_error_is_the_residual_over_the_band(series: pa.Table) -> None:
    """A user who comes for one category only: the largest of all residuals, each over its own band."""
    made = forecasts(series, SUNDAY)
    user = made["user_id"][0].as_py()
    own = made.filter(pc.field("user_id") == user).to_pylist()
    errors = forecast_errors(made, series_of([(SUNDAY + timedelta(days=7), user, own[0]["category"], 2.0)]))
    residuals = [abs((row["category"] == own[0]["category"]) - row["share"]) / row["band"] for row in own]
    assert errors.to_pylist() == [{"user_id": user, "forecast_error": pytest.approx(max(residuals))}]
    assert forecast_errors(made, series.slice(0, 0)).num_rows == 0


def test_the_weekly_report_compares_what_may_serve(series: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the refit day a row for each candidate, on other days none. The LSTM is fitted where the settings choose it,
    and then the other models are not."""
    monkeypatch.setitem(FORECASTERS, "lstm", Unfit())
    found = forecast_quality(series, SUNDAY, SEGMENT, SETTINGS, SEED, refit_weekday=WEEKDAY)
    assert found["model"].to_pylist() == ["last_week", "four_week_mean", "linear", "forest"]
    assert [row["model"] for row in found.to_pylist() if row["is_serving"]] == ["linear"]
    named = SETTINGS.model_copy(update={"model": "lstm"})
    with pytest.raises(AssertionError, match="fitted"):
        forecast_quality(series, SUNDAY, SEGMENT, named, SEED, refit_weekday=WEEKDAY)
    monkeypatch.undo()
    found = forecast_quality(series, SUNDAY, SEGMENT, named, SEED, refit_weekday=WEEKDAY)
    assert found["model"].to_pylist() == ["last_week", "four_week_mean", "lstm"]
    assert [row["model"] for row in found.to_pylist() if row["is_serving"]] == ["lstm"]
    monday = SUNDAY + timedelta(days=1)
    assert forecast_quality(series, monday, SEGMENT, SETTINGS, SEED, refit_weekday=WEEKDAY).num_rows == 0


def score(model: str, mse: float) -> ForecastScore:
    return ForecastScore(model, {}, 100, mse, 0.1, 0.1, 0.9, 0.5)


def test_another_forecaster_serves_only_where_it_is_clearly_better() -> None:
    """Linear regression serves unless the smallest error lies more than the margin below its own."""
    near = [score("four_week_mean", 0.0100), score("linear", 0.0104), score("forest", 0.0101)]
    assert choose(near, SETTINGS) == "linear"
    far = [score("four_week_mean", 0.0100), score("linear", 0.0110), score("forest", 0.0101)]
    assert choose(far, SETTINGS) == "four_week_mean"
    assert choose(far, SETTINGS.model_copy(update={"model": "forest"})) == "forest"


def test_the_forecasts_of_a_week_are_made_by_what_its_refit_day_chose(series: pa.Table) -> None:
    """Model and parameters are those of the row that serves, and each forecast names its model."""
    quality = forecast_quality(series, SUNDAY, SEGMENT, SETTINGS, SEED, refit_weekday=WEEKDAY)
    models = quality["model"].to_pylist()
    of_mean = pa.array([model == "four_week_mean" for model in models])
    chosen = quality.set_column(quality.schema.get_field_index("is_serving"), "is_serving", of_mean)
    saturday = SUNDAY + timedelta(days=6)

    def made(day: date, table: pa.Table | None, settings: ForecastSettings = SETTINGS) -> pa.Table:
        return interest_forecasts(series, [day], SEGMENT, settings, SEED, refit_weekday=WEEKDAY, quality=table)

    assert set(made(saturday, quality)["model"].to_pylist()) == {"linear"}
    by_mean = made(saturday, chosen)
    assert set(by_mean["model"].to_pylist()) == {"four_week_mean"}
    rows = examples(weeks(series, saturday, 6), [6], SETTINGS)
    shares = rows.column("mean_4_weeks")
    assert sorted(by_mean["share"].to_pylist()) == sorted(share for share in shares.tolist() if share >= 0.01)
    linear = SETTINGS.model_copy(update={"model": "linear"})
    assert set(made(saturday, chosen, linear)["model"].to_pylist()) == {"linear"}, "the setting wins"
    assert set(made(SUNDAY + timedelta(days=7), chosen)["model"].to_pylist()) == {"linear"}, "of another refit day"
    best = quality.filter(pc.field("is_serving"))["parameters"][0].as_py()
    assert served(quality, SEGMENT, SUNDAY, SETTINGS).parameters == json.loads(best)


def test_a_single_category_has_no_r2(series: pa.Table) -> None:
    """Every share is 1: the report has its rows, without an R2; nobody can fall outside, and no error is nan."""
    one = series.set_column(series.schema.get_field_index("category"), "category", pa.repeat("all", len(series)))
    one = INTEREST_SERIES.conform(
        one.group_by(["day", "segment", "user_id", "category"])
        .aggregate([(name, "sum") for name in ("score", *(f"n_{b}" for b in BEHAVIORS), "amount")])
        .rename_columns(INTEREST_SERIES.schema.names)
    )
    assert forecast_quality(one, SUNDAY, SEGMENT, SETTINGS, SEED, refit_weekday=WEEKDAY)["r2"].to_pylist() == [None] * 4
    assert {row["r2"] for row in forecast_report(one, SETTINGS, SEED, refit_weekday=WEEKDAY)} == {None}
    errors = forecast_errors(forecasts(one, SUNDAY), one)["forecast_error"].to_numpy()
    assert len(errors) > 50
    assert (errors <= 1).all()


def test_the_report_of_a_log_pools_its_weeks(series: pa.Table) -> None:
    """A log as long as one evaluation gives that evaluation's own figures."""
    log = series.filter(pc.field("day") <= SUNDAY)
    log = log.filter(pc.field("day") >= SUNDAY - timedelta(weeks=13))
    report = {row["model"]: row for row in forecast_report(log, SETTINGS, SEED, refit_weekday=WEEKDAY)}
    for quality in compare(weeks(log, SUNDAY, 12), SETTINGS, SEED):
        assert report[quality.model]["looks"] == 1
        assert report[quality.model]["r2"] == pytest.approx(quality.r2)
