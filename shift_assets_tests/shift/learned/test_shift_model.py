"""Laws of the learned shift detector: what it promises of users who do not change, and finds of those who do."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from shift_assets.arrays import CategoryCodes, Float64Array, offsets
from shift_assets.errors import PermanentError
from shift_assets.interest.histories import Histories
from shift_assets.settings.root import EvidenceSettings
from shift_assets.shift.detector.evidence import trace_user_days
from shift_assets.shift.learned import shift_model
from shift_assets.shift.learned.shift_model import MINIMUM_USERS, LearnedDetector, ShiftModel, fit, load, save
from shift_assets.shift.learned.splices import SPLICED, UNSPLICED, Construction, construct, draw_splice_points
from shift_assets_tests.shift.stationary_users import stationary_users

pytestmark = pytest.mark.slow

EVIDENCE = EvidenceSettings()
FLAGGED_SHARE = 0.05
ACTIVE_DAYS = 8


def fitted(log: Histories, flagged_share: float = FLAGGED_SHARE) -> ShiftModel:
    found = fit(log, ACTIVE_DAYS, seed=1, evidence=EVIDENCE, flagged_share=flagged_share, n_splice_points=300)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def log() -> Histories:
    return stationary_users(150, seed=2, days=(18, 45), tastes=30)


@pytest.fixture(scope="module")
def model(log: Histories) -> ShiftModel:
    return fitted(log)


@pytest.fixture(scope="module")
def unseen() -> Histories:
    """Users of other tastes than those of the fit."""
    return stationary_users(400, seed=12, days=(18, 45), tastes=30)


def largest(
    model: ShiftModel, log: Histories, construction: Construction, days_before: int = ACTIVE_DAYS
) -> tuple[Float64Array, Float64Array]:
    """Largest log odds, and largest log M, of the first active days from a splice point on, [case]."""
    points = draw_splice_points(log, ACTIVE_DAYS, seed=3, days_before=days_before)
    cases = construct(log, points, construction, seed=3)
    entries = cases.first_days(ACTIVE_DAYS)
    log_odds = model.score_histories(cases.histories, entries.ravel(), EVIDENCE).log_odds.reshape(entries.shape)
    log_e = trace_user_days(cases.histories.user_days, len(log.codes), EVIDENCE).log_e[entries]
    return np.fmax.reduce(log_odds, axis=1), np.fmax.reduce(log_e, axis=1)


def test_the_same_log_and_seed_fit_the_same_model(log: Histories, model: ShiftModel) -> None:
    """To the byte; another seed fits another."""
    assert fitted(log).to_bytes() == model.to_bytes()
    other = fit(log, ACTIVE_DAYS, seed=2, evidence=EVIDENCE, flagged_share=FLAGGED_SHARE, n_splice_points=300)
    assert other is not None
    assert other.to_bytes() != model.to_bytes()


@pytest.mark.parametrize("lead", [-2.0, -0.1, 0.0, 2.0])
def test_confidence_rises_with_the_log_odds(model: ShiftModel, lead: float) -> None:
    """Also where spliced histories have the smaller log odds, as happens by chance on a log without tastes."""
    whole = np.random.default_rng(5).normal(size=400)
    slope, offset = shift_model._platt_scaling(whole, whole + lead)
    odds = np.linspace(-4.0, 4.0, 41)
    confidence = replace(model, slope=slope, offset=offset).confidence(odds)
    assert (np.diff(confidence) > 0).all()
    if lead <= 0:
        assert np.abs(confidence - 0.5).max() < 0.02


def test_a_reloaded_model_scores_the_same_to_the_bit(log: Histories, model: ShiftModel) -> None:
    """And is the same bytes again."""
    again = ShiftModel.from_bytes(model.to_bytes())
    assert again.to_bytes() == model.to_bytes()
    entries = np.arange(len(log.user_days.day))
    for one, other in zip(*(each.score_histories(log, entries, EVIDENCE) for each in (model, again)), strict=True):
        assert one.tobytes() == other.tobytes()
    assert again.threshold_confidence == model.threshold_confidence


def test_a_stored_model_is_found_by_path_and_digest(model: ShiftModel, tmp_path: Path) -> None:
    """A changed or missing file is refused."""
    path, digest = save(model, tmp_path, "north", date(2026, 3, 1))
    assert load(tmp_path, path, digest).to_bytes() == model.to_bytes()
    load.cache_clear()
    (tmp_path / path / "model.safetensors").write_bytes(model.to_bytes() + b" ")
    with pytest.raises(PermanentError, match="was changed after it was saved"):
        load(tmp_path, path, digest)
    with pytest.raises(PermanentError, match="cannot be read"):
        load(tmp_path, "nowhere", digest)


def test_bytes_that_are_no_model_are_refused(model: ShiftModel) -> None:
    """Also those of a model of other features, as versions before had."""
    with pytest.raises(PermanentError, match="no shift detector"):
        ShiftModel.from_bytes(b"something else")
    header = {"categories": list(model.categories), "features": ["same_user_1"]}
    older = save_tensors(load_tensors(model.to_bytes()), metadata={"shift_assets": json.dumps(header)})
    with pytest.raises(PermanentError, match="features of another version"):
        ShiftModel.from_bytes(older)


def test_the_score_of_a_day_does_not_depend_on_later_days(log: Histories, model: ShiftModel) -> None:
    """Where the users' other days are known, their later ones change no score."""
    whole, early = (LearnedDetector(model, EVIDENCE).score(one) for one in (log, until_day(log, 20_060)))
    np.testing.assert_allclose(early, whole[log.user_days.day <= 20_060], rtol=1e-9)
    assert np.isfinite(early).any()


def until_day(log: Histories, day: int) -> Histories:
    """Everything that happened until a day."""
    keep = log.user_days.day <= day
    length = np.bincount(log.user_days.user[keep], minlength=len(log.users))
    return replace(log, user_days=log.user_days.take_entries(np.flatnonzero(keep), offsets(length)))


def test_p_values_of_stationary_days_are_uniform_in_their_tail(model: ShiftModel) -> None:
    """On all days of users of the same tastes, and of others, whatever the length of their past."""
    for log in (stationary_users(300, seed=2, days=(18, 45), tastes=30), stationary_users(300, seed=8, tastes=30)):
        score = model.score_histories(log, np.arange(len(log.user_days.day)), EVIDENCE)
        p = score.p_value[~np.isnan(score.p_value)]
        assert len(p) > 5_000
        assert 0.025 < (p <= 0.05).mean() < 0.08
        assert (p <= 0.01).mean() < 0.02


def test_a_score_is_there_where_the_past_is_long_enough(log: Histories, model: ShiftModel) -> None:
    """From the fourth day on; log odds, confidence and p-value together, and the larger the smaller its p-value."""
    score = model.score_histories(log, np.arange(len(log.user_days.day)), EVIDENCE)
    position = np.arange(len(log.user_days.day)) - log.user_days.start[log.user_days.user]
    for values in score:
        np.testing.assert_array_equal(np.isnan(values), position < 3)
    of_one_range = (position >= 24) & (position < 36)  # the p-values of a longer past come from another sample
    order = np.argsort(score.log_odds[of_one_range])
    assert (np.diff(score.p_value[of_one_range][order]) <= 1e-12).all()
    assert (np.diff(score.confidence[of_one_range][order]) >= 0).all()


@pytest.mark.parametrize("flagged_share", [0.02, 0.1])
def test_few_unchanged_users_reach_the_threshold(log: Histories, unseen: Histories, flagged_share: float) -> None:
    """Of users on whom nothing was fitted, at most the set share within eight active days."""
    model = fitted(log, flagged_share)
    flagged = largest(model, unseen, UNSPLICED)[0] >= model.threshold
    assert flagged.mean() <= flagged_share


def test_replaced_users_are_found_better_than_by_the_e_value(model: ShiftModel) -> None:
    """At the thresholds of both, while no more unchanged users are flagged than set; after a past of four days too."""
    log = stationary_users(400, seed=2, days=(18, 45), tastes=30)
    for days_before in (ACTIVE_DAYS, 4):
        whole, _ = largest(model, log, UNSPLICED, days_before)
        spliced, spliced_e = largest(model, log, SPLICED, days_before)
        assert (whole >= model.threshold).mean() <= FLAGGED_SHARE
        assert (spliced >= model.threshold).mean() > (spliced_e >= np.log(10.0)).mean() + 0.05


def test_the_confidence_is_a_probability(model: ShiftModel, unseen: Histories) -> None:
    """Among as many unchanged as replaced users, about as many are replaced as their largest confidence says."""
    whole, spliced = (model.confidence(largest(model, unseen, one)[0]) for one in (UNSPLICED, SPLICED))
    confidence = np.concatenate([whole, spliced])
    is_spliced = np.repeat([0, 1], [len(whole), len(spliced)])
    for low, high in ((0.0, 0.3), (0.3, 0.7), (0.7, 1.0)):
        mine = (confidence >= low) & (confidence <= high)
        assert is_spliced[mine].mean() == pytest.approx(confidence[mine].mean(), abs=0.15)


def test_no_user_is_scored_by_what_was_fitted_on_it(log: Histories) -> None:
    """The clusters by which the users of a fold are scored for the calibration are the same whatever these users do."""
    user_days = log.user_days
    folds = shift_model._Folds(log, ACTIVE_DAYS, 1, None)
    in_fold = folds._fold[user_days.user[user_days.score_entry]] == 0
    category = np.where(in_fold, (user_days.category + 5) % len(log.codes), user_days.category)
    other = replace(log, user_days=replace(user_days, category=category))
    changed = shift_model._Folds(other, ACTIVE_DAYS, 1, None)
    np.testing.assert_array_equal(changed._fold, folds._fold)
    for name in ("weight", "share"):
        own, others = (
            [getattr(each._clusters_without[fold], name).tobytes() for each in (folds, changed)] for fold in (0, 1)
        )
        assert own[0] == own[1]
        assert others[0] != others[1]


def test_clusters_on_other_categories_keep_what_they_know(model: ShiftModel) -> None:
    """Known names take their share along and share a column, unknown ones have almost none, missing ones are left."""
    names = pa.array(["new", *model.categories[:3], None])
    clusters = model.clusters_on(names, np.array([0, 1, 2, 2, 3]), 4)
    assert clusters.share.sum(axis=1) == pytest.approx(1)
    assert (clusters.share > 0).all()
    assert clusters.share[:, [0, 3]].max() < 1e-4
    known = model.clusters.share[:, :3]
    expected = np.stack([known[:, 0], known[:, 1] + known[:, 2]], axis=1)
    assert clusters.share[:, 1:3] == pytest.approx(expected / expected.sum(axis=1, keepdims=True), abs=1e-4)
    nothing = model.clusters_on(pa.array(["new", "newer"]), np.array([0, 1]), 2)
    assert nothing.share == pytest.approx(0.5)


def test_the_order_of_categories_does_not_matter(log: Histories, model: ShiftModel) -> None:
    """Names, not numbers, say which category is which."""
    last = len(log.codes) - 1
    names = [f"z{last - code:02d}" for code in range(last + 1)]
    turned = replace(
        log,
        codes=CategoryCodes(pa.array(names)),
        user_days=replace(log.user_days, category=last - log.user_days.category),
    )
    entries = log.user_days.start[1:] - 1
    same = model.score_histories(log, entries, EVIDENCE).log_odds
    other = replace(model, categories=tuple(names)).score_histories(turned, entries, EVIDENCE).log_odds
    assert np.isfinite(same).all()
    assert other == pytest.approx(same, abs=1e-3)


def test_too_few_users_fit_no_model() -> None:
    few = stationary_users(MINIMUM_USERS - 1, seed=1)
    assert fit(few, ACTIVE_DAYS, seed=1, evidence=EVIDENCE, flagged_share=FLAGGED_SHARE) is None
    many = stationary_users(MINIMUM_USERS + 5, seed=1, days=(6, 9))
    assert fit(many, ACTIVE_DAYS, seed=1, evidence=EVIDENCE, flagged_share=FLAGGED_SHARE) is None
