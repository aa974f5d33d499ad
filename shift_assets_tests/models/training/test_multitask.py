"""Heads start from the priors, learn planted behaviour, and give calibrated probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shift_assets.contracts.models import MODEL_PREDICTIONS
from shift_assets.models.data.labels import CHURN_WEEKS, behavior_points, labels
from shift_assets.models.data.prediction_points import SILENT_DAYS, Timeline
from shift_assets.models.data.sequences import Vocabulary, pack
from shift_assets.models.data.validation import Validation
from shift_assets.models.inference.head_inputs import HeadInputs, logits_at, point_vectors
from shift_assets.models.inference.predictions import NAMED_CATEGORIES, predictions
from shift_assets.models.metrics import auc
from shift_assets.models.network.calibration import Calibration
from shift_assets.models.network.encoder import CausalEncoder
from shift_assets.models.network.heads import TASKS, Heads, Priors, Task, TaskLogits
from shift_assets.models.network.interest_model import InterestModel
from shift_assets.models.network.threads import torch_threads
from shift_assets.models.registry.store import load, save
from shift_assets.models.training import head_evaluation
from shift_assets.models.training.fit import fit
from shift_assets.models.training.head_evaluation import evaluate_heads
from shift_assets.models.training.head_losses import LOG_VARIANCE_BOUND, binary_loss, label_losses, weighted_loss
from shift_assets.models.training.multitask import TaskPlan, TaskTraining
from shift_assets.models.training.parameters import ModelParameters, TaskParameters
from shift_assets.models.training.train import TrainedModel, train
from shift_assets.settings.root import InterestSettings
from shift_assets_tests.event_logs import FIRST_DAY, Row, clean_events, day, random_log, user_id

pytestmark = pytest.mark.slow

QUICK = ModelParameters(
    device="cpu", dimensions=16, maximum_steps=12, eval_every_steps=4, batch_size=16, validation_days=7
)
TASK_SETTINGS = TaskParameters(batch_size=16, shift_active_days=2)
POINTS = behavior_points(InterestSettings().weights)
DAYS = 60


def habits(users: int = 40, days: int = DAYS) -> pa.Table:
    """Half the users buy on two days a week, the others browse every ninth day; each has one category."""

    def rows() -> Iterator[Row]:
        for number in range(days):
            for user in range(users):
                often = user % 2 == 0
                if (number + user) % (3 if often else 9) == 0:
                    item = f"c{user // 2 % 4}-{(number + user) % 6}"
                    yield number, f"user {user}", item, "purchase" if often else "view"

    return clean_events(rows())


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    settings = QUICK.model_copy(update={"maximum_steps": 60, "eval_every_steps": 60})
    return train(habits(), day(DAYS), settings, seed=1, tasks=TASK_SETTINGS)


def model_of(trained: TrainedModel) -> InterestModel:
    assert trained.model is not None
    return trained.model


def test_heads_start_from_the_priors() -> None:
    """Before the first step every task's loss is its prior's entropy, so each weighs what its weight says."""
    events = random_log(3, users=40, days=70, per_day=30)
    vocabulary = Vocabulary.of(events)
    timeline = Timeline(pack(events, vocabulary))
    last_day = int(timeline.sequences.days.max())
    prediction_points = timeline.prediction_points(last_day, 1)
    found = labels(prediction_points, last_day, 7, POINTS)
    network = fitted_network(events)
    tasks = TaskTraining(
        timeline.sequences, vocabulary, TaskPlan(TASK_SETTINGS, POINTS, last_day), network=network, seed=1
    )
    losses = label_losses(logits_at(InterestModel(network, vocabulary), tasks.heads, prediction_points), found)
    for task, loss in losses.items():
        assert float(loss) == pytest.approx(tasks.priors.entropies[task], rel=0.01), task
    assert set(losses) == {"category", "purchase", "churn"}


def fitted_network(events: pa.Table) -> CausalEncoder:
    vocabulary = Vocabulary.of(events)
    sequences = pack(events, vocabulary)
    start = int(sequences.days.max()) - 3
    validation = Validation.of(sequences, start)
    few = QUICK.model_copy(update={"maximum_steps": 1})
    return fit(sequences.until(start), vocabulary, validation, few, seed=1).model.network


def test_planted_habits_are_predicted(trained: TrainedModel) -> None:
    """Buyers are separated from browsers, and users who come every third day from those of every ninth."""
    metrics = trained.card.metrics
    assert metrics["purchase_auc"] > 0.95
    assert metrics["category_cross_entropy"] < 0.6 * metrics["category_cross_entropy_without_looking"]
    assert metrics["shift_auc"] > 0.8
    rows = predictions(habits(), day(DAYS - 1), "all", model_of(trained), 90).to_pylist()
    often = {user_id(f"user {user}") for user in range(0, 40, 2)}
    buys = [row["purchase_propensity"] for row in rows if row["user_id"] in often]
    prediction_points = [row["purchase_propensity"] for row in rows if row["user_id"] not in often]
    assert min(buys) > 0.5 > max(prediction_points)


def test_the_heads_are_evaluated_on_the_threads_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many the process has: a small model gains nothing from a second one but the time that it waits."""
    used = []

    def counted(*args: Any) -> TaskLogits:
        used.append(torch.get_num_threads())
        return logits_at(*args)

    monkeypatch.setattr(head_evaluation, "logits_at", counted)
    with torch_threads(3):
        train(habits(), day(DAYS), QUICK, seed=1, tasks=TASK_SETTINGS)
        assert torch.get_num_threads() == 3
    assert set(used) == {QUICK.threads}


def test_predictions_keep_the_contract(trained: TrainedModel) -> None:
    """One row for everybody seen lately, probabilities within 0 and 1, shares falling and of one whole at most."""
    late = clean_events(
        [(DAYS - 1 - SILENT_DAYS, "just", "c0-0", "view"), (DAYS - 2 - SILENT_DAYS, "gone", "c0-0", "view")]
    )
    events = pa.concat_tables([habits(), late])
    rows = predictions(events, day(DAYS - 1), "all", model_of(trained), 90)
    assert MODEL_PREDICTIONS.conform(rows).equals(rows)
    users = rows["user_id"].to_pylist()
    assert users == sorted(users)
    assert len(users) == 41
    assert user_id("just") in users
    for row in rows.to_pylist():
        for name in ("purchase_propensity", "churn_probability", "shift_score"):
            assert 0 <= row[name] <= 1
        shares = [entry["share"] for entry in row["categories"]]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) <= 1 + 1e-9
        assert len(shares) <= NAMED_CATEGORIES


def test_later_days_and_their_order_change_no_prediction(trained: TrainedModel) -> None:
    """Predictions of a day are the same with or without later days in the table."""
    events = habits()
    known = events.filter(pa.compute.field("day") <= day(40))
    model = model_of(trained)
    assert predictions(events, day(40), "all", model, 30).equals(predictions(known, day(40), "all", model, 30))


def test_tasks_that_could_not_be_trained_are_null(tmp_path: Path) -> None:
    """A short log of views has no purchases, and no four weeks of silence were seen: null, also from disk."""
    events = clean_events(
        (number, f"user {user}", f"c{user % 3}-{number % 4}", "view")
        for number in range(12)
        for user in range(20)
        if (user + number) % 3
    )
    stray = [(-60, f"user {user}", "c0-0", "view") for user in range(5)]
    events = pa.concat_tables([clean_events(stray), events])
    trained = train(events, day(12), QUICK, seed=1, tasks=TASK_SETTINGS)
    folder = tmp_path / save(model_of(trained), trained.card, tmp_path, "all")["path"][0].as_py()
    for model in (model_of(trained), load(folder)):
        rows = predictions(events, day(11), "all", model, 90)
        assert rows.num_rows == 20
        assert rows["purchase_propensity"].null_count == rows["churn_probability"].null_count == 20
        assert rows["shift_score"].null_count == 0


def test_heads_are_the_same_after_a_reload(trained: TrainedModel, tmp_path: Path) -> None:
    """A model predicts the same before it is saved and after it is loaded, calibration included."""
    model = model_of(trained)
    row = save(model, trained.card, tmp_path, "all").to_pylist()[0]
    loaded = load(tmp_path / row["path"], row["digest"])
    before, after = (predictions(habits(), day(DAYS), "all", m, 90).drop(["model_version"]) for m in (model, loaded))
    assert before.equals(after)
    assert loaded.trained_heads is not None
    assert model.trained_heads is not None
    assert loaded.trained_heads.calibrations == model.trained_heads.calibrations


def test_a_model_without_tasks_has_no_predictions() -> None:
    """Without tasks there are no heads and no rows."""
    trained = train(random_log(1), day(20), QUICK, seed=5)
    assert predictions(random_log(1), day(19), "all", model_of(trained), 90).num_rows == 0
    empty = train(random_log(1), day(20), QUICK, seed=5, tasks=TASK_SETTINGS.model_copy(update={"weights": {}}))
    assert model_of(empty).trained_heads is None


def test_a_warm_start_keeps_the_heads(trained: TrainedModel, tmp_path: Path) -> None:
    """Without further training steps, heads predict the same for known categories as before."""
    row = save(model_of(trained), trained.card, tmp_path, "all").to_pylist()[0]
    more = pa.concat_tables([habits(), clean_events([(DAYS, "user 0", "a-new", "view")])])
    still = QUICK.model_copy(update={"warm_learning_rate": 1e-12, "warm_steps": 1})
    rest = TASK_SETTINGS.model_copy(update={"warm_steps": 0})
    second = train(more, day(DAYS + 1), still, seed=1, tasks=rest, warm_start=tmp_path / row["path"])
    own, before = model_of(second).trained_heads, model_of(trained).trained_heads
    assert own is not None
    assert before is not None
    torch.testing.assert_close(own.heads.purchase.state_dict(), before.heads.purchase.state_dict())
    torch.testing.assert_close(own.heads.category, before.heads.category)
    assert model_of(second).vocabulary.categories[0] == "a"
    rows = predictions(more, day(DAYS), "all", model_of(second), 90).to_pylist()
    assert any(entry["category"] == "a" for row in rows for entry in row["categories"])


@pytest.mark.parametrize("task", TASKS)
def test_a_detached_task_sends_no_gradient_to_the_encoder(task: Task) -> None:
    """With its gradient stopped a task is left out of the steps, and trained once the encoder is final."""
    events = random_log(3, users=40, days=70, per_day=30)
    network = fitted_network(events)
    vocabulary = Vocabulary.of(events)
    sequences = pack(events, vocabulary)
    task_settings = TASK_SETTINGS.model_copy(update={"weights": {task: 1.0}, "stop_gradient": ()})
    plan = TaskPlan(task_settings, POINTS, int(sequences.days.max()))
    tasks = TaskTraining(sequences, vocabulary, plan, network=network, seed=1)
    for weight in tasks.heads.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    network.zero_grad()
    assert tasks.trains_encoder
    tasks.loss(network).backward()
    assert sum(float(weight.grad.abs().sum()) for weight in network.parameters() if weight.grad is not None) > 0
    stopped = plan._replace(settings=plan.settings.model_copy(update={"stop_gradient": (task,)}))
    tasks = TaskTraining(sequences, vocabulary, stopped, network=network, seed=1)
    assert not tasks.trains_encoder
    before = [weight.clone() for weight in (*network.parameters(), *tasks.heads.parameters())]
    tasks.finish(network)
    after = [*network.parameters(), *tasks.heads.parameters()]
    n_network = len(list(network.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(before[:n_network], after[:n_network], strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(before[n_network:], after[n_network:], strict=True))


def test_uncertainty_weighs_within_its_bound() -> None:
    """A fixed sum adds the weighted parts of the priors; a trained variance changes them within its bound."""
    priors = Priors(np.full(4, 0.25), 0.5, np.full(CHURN_WEEKS, 0.5), dict.fromkeys(TASKS, 2.0))
    losses: dict[Task, torch.Tensor] = {"purchase": torch.tensor(1.0), "churn": torch.tensor(3.0)}
    assert float(weighted_loss(losses, priors, {"purchase": 0.3, "churn": 0.1, "shift": 9.0}, None)) == pytest.approx(
        0.3
    )
    far, bound = (torch.full((4,), value) for value in (50.0, LOG_VARIANCE_BOUND))
    at_bound = float(weighted_loss(losses, priors, {"purchase": 1.0}, bound))
    assert float(weighted_loss(losses, priors, {"purchase": 1.0}, far)) == at_bound
    assert at_bound == pytest.approx(0.5 * math.exp(-LOG_VARIANCE_BOUND) + LOG_VARIANCE_BOUND / 2)


def test_a_task_that_never_varies_weighs_nothing() -> None:
    """Where nobody buys, or everybody, there is no entropy to divide by, and the sum is that of the others."""
    timeline = Timeline(pack(random_log(1), Vocabulary.of(random_log(1))))
    never = labels(timeline.day_ends(), int(timeline.sequences.days.max()) - 30, 7, POINTS)
    priors = Priors.of(never, len(Vocabulary.of(random_log(1)).categories), spliced=False)
    assert priors.entropies["purchase"] == priors.entropies["shift"] == 0
    losses: dict[Task, torch.Tensor] = {"purchase": torch.tensor(1.0)}
    assert float(weighted_loss(losses, priors, {"purchase": 1.0}, None)) == 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), slope=st.floats(0.4, 2.0), intercept=st.floats(-1.0, 1.0))
def test_a_calibration_recovers_slope_and_intercept(seed: int, slope: float, intercept: float) -> None:
    """With many cases the parameters are recovered; without cases nothing is calibrated."""
    random = np.random.default_rng(seed)
    log_odds = random.normal(0, 2, 20_000)
    happened = random.random(20_000) < 1 / (1 + np.exp(-(slope * log_odds + intercept)))
    found = Calibration.of(log_odds, happened)
    assert found.slope == pytest.approx(slope, abs=0.15)
    assert found.intercept == pytest.approx(intercept, abs=0.15)
    assert abs(found.probability(log_odds).mean() - happened.mean()) < 0.01
    assert Calibration.of(np.zeros(0), np.zeros(0, bool)) == Calibration()


def test_auc_counts_pairs() -> None:
    """Ties count half, and without both classes there is no AUC."""
    assert auc(np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, False, True, True])) == pytest.approx(0.875)
    assert auc(np.array([1.0, 2.0]), np.array([True, True])) is None


def test_a_prediction_point_reads_the_newest_events_up_to_it() -> None:
    """The vector of a prediction point is that of its own truncated history, for any division into blocks."""
    events = random_log(5)
    network = fitted_network(events)
    timeline = Timeline(pack(events, Vocabulary.of(events)))
    prediction_points = timeline.day_ends()
    vectors = point_vectors(network, timeline.sequences, prediction_points.events)
    for position in (0, len(prediction_points) // 2, len(prediction_points) - 1):
        alone = point_vectors(network, timeline.sequences, prediction_points.events[position : position + 1])
        torch.testing.assert_close(vectors[position], alone[0])
    logits = logits_at(InterestModel(network, Vocabulary.of(events)), Heads(16, 5), prediction_points)
    assert logits.churn.shape == (len(prediction_points), CHURN_WEEKS)
    assert torch.isfinite(logits.category).all()


def test_heads_can_be_evaluated_without_users() -> None:
    """A validation without anybody calibrates nothing and measures nothing."""
    events = random_log(5)
    network = fitted_network(events)
    sequences = pack(events, Vocabulary.of(events))
    last_day = int(sequences.days.max())
    tasks = TaskTraining(
        sequences, Vocabulary.of(events), TaskPlan(TASK_SETTINGS, POINTS, last_day), network=network, seed=1
    )
    model = InterestModel(network, Vocabulary.of(events))
    quality = evaluate_heads(model, tasks, sequences.until(0), last_day + 1, last_day + 7, seed=1)
    assert quality.metrics == {}
    assert all(line == Calibration() for line in quality.trained_heads.calibrations.values())


def test_binary_loss_counts_only_what_counts() -> None:
    """Masked points do not contribute to the loss, whatever their logits."""
    logits = torch.tensor([0.0, 50.0])
    assert float(binary_loss(logits, np.array([True, False]), np.array([True, False]))) == pytest.approx(math.log(2))


def test_training_with_tasks_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    """The same events and seed give the same file, heads and calibration included."""
    events = habits(days=30)
    rows = [
        save(model_of(made), made.card, tmp_path, "all")["digest"][0].as_py()
        for made in (train(events, day(30), QUICK, seed=2, tasks=TASK_SETTINGS) for _ in range(2))
    ]
    assert rows[0] == rows[1]
    assert day(0) == FIRST_DAY


def test_a_task_without_labels_learns_nothing() -> None:
    """Where nobody can be spliced, a training of shifts alone leaves the heads unchanged, and predicts none."""
    events = random_log(5, users=60, days=8, per_day=10)
    settings = TASK_SETTINGS.model_copy(update={"weights": {"shift": 1.0}, "shift_active_days": 6})
    trained = train(events, day(8), QUICK, seed=1, tasks=settings)
    trained_heads = model_of(trained).trained_heads
    assert trained_heads is not None
    assert "shift" not in trained_heads.calibrations
    assert not trained_heads.heads.category.any()


def test_a_subset_of_prediction_points_gives_the_same_logits() -> None:
    """Points taken in any order get their own categories, and the same logits."""
    events = random_log(5)
    network = fitted_network(events)
    vocabulary = Vocabulary.of(events)
    timeline = Timeline(pack(events, vocabulary))
    prediction_points = timeline.day_ends()
    seen = HeadInputs.of(
        prediction_points,
        point_vectors(network, timeline.sequences, prediction_points.events),
        network,
        vocabulary,
    )
    heads = Heads(16, 5).eval()
    torch.nn.init.normal_(heads.category)
    which = np.random.default_rng(1).permutation(len(prediction_points))[:20]
    with torch.no_grad():
        whole, some = heads(*seen), heads(*seen.take(torch.from_numpy(which)))
    for of_all, of_some in zip(whole, some, strict=True):
        torch.testing.assert_close(of_all[torch.from_numpy(which)], of_some)
