"""Training is reproducible, warm, bounded, and learns what order says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from shift_assets.contracts.cleaning import CLEAN_EVENTS
from shift_assets.contracts.day import day_number
from shift_assets.models.data.item_attributes import ItemAttributes
from shift_assets.models.data.sequences import Vocabulary, pack
from shift_assets.models.data.validation import Validation
from shift_assets.models.inference.scoring import score
from shift_assets.models.network.interest_model import InterestModel
from shift_assets.models.registry.store import load, save
from shift_assets.models.training.fit import fit
from shift_assets.models.training.parameters import ModelParameters
from shift_assets.models.training.train import TrainedModel, train
from shift_assets_tests.event_logs import clean_events, day, random_log, ring_log, shuffled

pytestmark = pytest.mark.slow

QUICK = ModelParameters(
    device="cpu", dimensions=16, maximum_steps=12, eval_every_steps=4, batch_size=16, validation_days=3
)


def weights(model: InterestModel | None) -> dict[str, bytes]:
    assert model is not None
    return {name: value.numpy().tobytes() for name, value in model.network.state_dict().items()}


def test_training_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    """The same events, in any order, and the same seed give the same file; another seed gives another."""
    events = random_log(1)
    digests = []
    for rows, seed in ((events, 5), (shuffled(events), 5), (events, 6)):
        trained = train(rows, day(20), QUICK, seed=seed)
        assert trained.model is not None
        digests.append(save(trained.model, trained.card, tmp_path, "all")["digest"][0].as_py())
    assert digests[0] == digests[1] != digests[2]


def test_training_leaves_torch_as_it_was() -> None:
    """Seeds, threads and determinism of the process are not touched by a training."""
    torch.manual_seed(3)
    before = torch.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    train(random_log(1), day(20), QUICK, seed=5)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())


def test_training_reads_no_event_from_the_served_day_on() -> None:
    """A model of day D is the same whether or not the table holds day D and what follows."""
    events = random_log(2)
    early = events.filter(pa.compute.field("day") < day(15))
    assert weights(train(events, day(15), QUICK, seed=1).model) == weights(train(early, day(15), QUICK, seed=1).model)


def test_the_model_beats_popularity_on_a_planted_sequence() -> None:
    """Where every item is equally popular and only the order is informative, the true next item ranks first."""
    settings = ModelParameters(
        device="cpu", dimensions=32, dropout=0.0, maximum_steps=150, eval_every_steps=50, batch_size=16, target_span=1
    )
    events = ring_log()
    trained = train(events, day(12), settings, seed=1)
    assert trained.model is not None
    histories = pack(events, trained.model.vocabulary)
    best, _ = score(trained.model, histories, 1)
    last = histories.items[histories.offsets[1:] - 1]
    names = trained.model.vocabulary.items
    following = [(int(names[item - 1].split("-")[1]) + 1) % 24 for item in last]
    found = [int(names[item].split("-")[1]) for item in best[:, 0]]
    share = np.mean(np.array(found) == np.array(following))
    assert share > 0.8  # popularity, the same slate for all, hits 1 in 24


def test_a_warm_start_keeps_the_rows_of_known_items(tmp_path: Path) -> None:
    """Where no step is better than the weights before, known items have their rows, new ones their category's mean."""
    first = train(random_log(3), day(18), QUICK, seed=1)
    assert first.model is not None
    row = save(first.model, first.card, tmp_path, "all").to_pylist()[0]
    later = pa.concat_tables([random_log(3), clean_events([(18, "user 1", "c0-new", "purchase")])])
    still = QUICK.model_copy(update={"warm_learning_rate": 1e-12, "warm_steps": 1})
    second = train(later, day(19), still, seed=1, warm_start=tmp_path / row["path"])
    assert second.model is not None
    assert second.card.warm_start == row["version"]
    old, new = first.model, second.model
    common = [name for name in new.vocabulary.items if name in old.vocabulary.items]
    assert common
    old_codes = old.vocabulary.item_codes(pa.array(common))
    new_codes = new.vocabulary.item_codes(pa.array(common))
    np.testing.assert_allclose(
        new.network.item.weight.detach()[new_codes], old.network.item.weight.detach()[old_codes], atol=1e-6
    )
    own = [code for name, code in zip(common, new_codes, strict=True) if name.startswith("c0")]
    added = new.vocabulary.item_codes(pa.array(["c0-new"]))[0]
    np.testing.assert_allclose(
        new.network.item.weight.detach()[added], new.network.item.weight.detach()[own].mean(0), atol=1e-5
    )


def test_another_shape_is_trained_from_scratch(tmp_path: Path) -> None:
    """Weights of another size cannot be continued, and the card says that they were not."""
    first = train(random_log(3), day(18), QUICK, seed=1)
    assert first.model is not None
    folder = tmp_path / save(first.model, first.card, tmp_path, "all")["path"][0].as_py()
    wider = QUICK.model_copy(update={"dimensions": 24})
    assert train(random_log(3), day(19), wider, seed=1, warm_start=folder).card.outcome == "Trained from random weights"


@pytest.mark.parametrize(
    "events",
    [
        CLEAN_EVENTS.empty(),
        clean_events([(0, "a", "x-1", "view")]),
        clean_events([(0, "a", "x-1", "return"), (1, "a", "x-1", "return"), (2, "b", "x-2", "return")]),
    ],
    ids=["nothing", "one event", "returns only"],
)
def test_too_little_to_learn_is_an_outcome(events: pa.Table, tmp_path: Path) -> None:
    """Without a user who came back there is no model, or the one before is carried over; never an error."""
    trained = train(events, day(5), QUICK, seed=1)
    assert trained.model is None
    assert trained.card.outcome.startswith("None")
    before = train(random_log(3), day(18), QUICK, seed=1)
    assert before.model is not None
    folder = tmp_path / save(before.model, before.card, tmp_path, "all")["path"][0].as_py()
    carried = train(events, day(5), QUICK, seed=1, warm_start=folder)
    assert weights(carried.model) == weights(before.model)


def test_two_days_train_without_validation() -> None:
    """A log too short to hold days back trains all its steps and gives finite weights."""
    trained = train(random_log(4, days=2), day(2), QUICK, seed=1)
    assert trained.card.steps == QUICK.maximum_steps
    assert trained.model is not None
    assert all(torch.isfinite(value).all() for value in trained.model.network.state_dict().values())
    assert "validation_ndcg_at_20" not in trained.card.metrics


@pytest.mark.parametrize("objective", ["next_days", "next_event"])
@pytest.mark.parametrize("loss", ["full", "chunked", "sampled", "gbce"])
def test_every_loss_learns(loss: str, objective: str) -> None:
    """Each loss, under each objective, falls from where random vectors put it."""
    chosen = {"loss": loss, "objective": objective, "negatives": 8, "maximum_steps": 40, "maximum_epochs": 12}
    chosen |= {"item_initialisation": "random", "learning_rate": 2e-3}
    settings = ModelParameters.model_validate(QUICK.model_dump() | chosen)
    curve = train(random_log(5), day(20), settings, seed=1).curve
    assert curve[-1].loss is not None
    assert curve[0].loss is not None
    assert curve[-1].loss < curve[0].loss


def test_chunks_and_all_at_once_are_one_loss() -> None:
    """The chunked loss trains the same model as the loss over all logits, up to rounding."""
    exact = QUICK.model_copy(update={"precision": "float32", "dropout": 0.0})
    curves = [
        train(random_log(5), day(20), exact.model_copy(update={"loss": loss}), seed=1).curve
        for loss in ("full", "chunked")
    ]
    assert [point.loss for point in curves[0]] == pytest.approx([point.loss for point in curves[1]], rel=1e-4)


@pytest.mark.parametrize(
    ("item_initialisation", "architecture"),
    [("random", "transformer"), ("transitions", "transformer"), ("random", "gru"), ("random", "lstm")],
)
def test_the_next_event_is_learned_on_a_planted_sequence(item_initialisation: str, architecture: str) -> None:
    """Where the last item determines the next one, that one ranks first after a few epochs."""
    settings = ModelParameters.model_validate(
        {
            "device": "cpu",
            "objective": "next_event",
            "item_initialisation": item_initialisation,
            "architecture": architecture,
            "dimensions": 32,
            "dropout": 0.0,
            "batch_size": 16,
            "maximum_epochs": 40,
            "learning_rate": 5e-3,
        }
    )
    events = ring_log()
    vocabulary = Vocabulary.of(events)
    sequences = pack(events, vocabulary)
    histories = sequences.until(day_number(day(11)))
    last = sequences.items[sequences.offsets[1:] - 1]
    validation = Validation(histories, np.arange(len(last)), last, masked=True)
    fitted = fit(histories, vocabulary, validation, settings, seed=1)
    assert not fitted.model.network.shape.repeats
    best, _ = score(fitted.model, histories, 1, masked=True)
    assert np.mean(best[:, 0] + 1 == last) > 0.8


def test_the_autoencoder_learns_tastes() -> None:
    """Where users keep to a group of items and order carries no information, the mean of a history gives the group."""
    random = np.random.default_rng(0)
    rows = [
        (number, f"user {user}", f"g{user % 4}-{random.integers(6):02d}", "view")
        for number in range(10)
        for user in range(60)
    ]
    events = clean_events(rows)
    vocabulary = Vocabulary.of(events)
    sequences = pack(events, vocabulary)
    settings = QUICK.model_copy(
        update={"objective": "next_event", "architecture": "autoencoder", "maximum_epochs": 25, "learning_rate": 5e-3}
    )
    histories = sequences.until(day_number(day(9)))
    last = sequences.items[sequences.offsets[1:] - 1]
    fitted = fit(histories, vocabulary, Validation(histories, np.arange(60), last), settings, seed=1)
    best, _ = score(fitted.model, histories, 4)
    group = np.array([int(name[1]) for name in vocabulary.items])
    assert np.mean(group[best] == group[last - 1][:, None]) > 0.9


def test_a_cold_item_is_recommended_by_its_attributes() -> None:
    """Users who keep to one attribute get the new item of that attribute before all new items of others."""
    groups, each = 4, 12
    rows = [
        (number, f"user {user}", f"g{user % groups}-{(user * 5 + number * 7) % (each - 1):02d}", "view")
        for number in range(10)
        for user in range(40)
    ]
    vocabulary = Vocabulary.of(clean_events([*rows, *((0, "x", f"g{g}-99", "view") for g in range(groups))]))
    sequences = pack(clean_events(rows), vocabulary)
    code = np.array([int(name[1]) for name in vocabulary.items])
    attributes = ItemAttributes.of_codes(np.arange(len(code) + 1), code)
    settings = ModelParameters(
        device="cpu", objective="next_event", dimensions=16, dropout=0.0, item_dropout=0.3, batch_size=16,
        maximum_epochs=30, learning_rate=1e-2, item_initialisation="transitions",
    )  # fmt: skip
    nobody = Validation(sequences.of_users(np.arange(0)), np.zeros(0, np.int64), np.zeros(0, np.int64))
    fitted = fit(sequences, vocabulary, nobody, settings, seed=1, attributes=attributes)
    new = {f"g{g}-99" for g in range(groups)}
    best, _ = score(fitted.model, sequences, 1, new)
    group_of_user = code[sequences.items[sequences.offsets[:-1]] - 1]
    assert np.mean(code[best[:, 0]] == group_of_user) > 0.9


def test_training_logs_are_written(tmp_path: Path) -> None:
    """TensorBoard finds the curve in the folder that was asked for."""
    train(random_log(1), day(20), QUICK, seed=1, log_dir=tmp_path / "logs")
    assert list((tmp_path / "logs").glob("events.out.tfevents.*"))


def test_scores_come_best_first_and_only_of_allowed_items() -> None:
    """The top ranks hold allowed items in descending order of score, and no item where none is left."""
    trained = train(random_log(1), day(20), QUICK, seed=1)
    assert trained.model is not None
    names = trained.model.vocabulary.items
    items, scores = score(trained.model, pack(random_log(1), trained.model.vocabulary), 5, set(names[:3]))
    assert set(items[:, :3].ravel().tolist()) == {0, 1, 2}
    assert (items[:, 3:] == -1).all()
    assert (np.diff(scores[:, :3], axis=1) <= 0).all()


def test_vocabulary_of_nothing_is_empty() -> None:
    """An empty window has an empty vocabulary."""
    assert Vocabulary.of(CLEAN_EVENTS.empty()).items == ()


def served(trained: TrainedModel, folder: Path) -> Path:
    assert trained.model is not None
    path: str = save(trained.model, trained.card, folder, "all")["path"][0].as_py()
    return folder / path


def test_a_model_is_promoted_only_where_it_beats_the_served_one(tmp_path: Path) -> None:
    """The better of two on the same validation days is served: a poor one gives way, none gives way to its equal."""
    events = ring_log()
    good = QUICK.model_copy(
        update={"dropout": 0.0, "maximum_steps": 100, "target_span": 1, "warm_learning_rate": 1e-12}
    )
    poor = good.model_copy(update={"maximum_steps": 1})
    well, badly = (served(train(events, day(11), s, seed=1), tmp_path) for s in (good, poor))
    again = train(events, day(12), good, seed=1, warm_start=well)
    assert not again.card.promoted
    assert again.card.metrics["served_validation_ndcg_at_20"] == again.card.metrics["validation_ndcg_at_20"]
    better = train(events, day(12), good, seed=1, warm_start=badly, retrain_days=1)
    assert better.card.promoted
    assert better.card.judged_against == load(badly).version
    assert better.card.metrics["served_validation_ndcg_at_20"] < better.card.metrics["validation_ndcg_at_20"]
    worse = train(events, day(12), poor, seed=1, warm_start=well, retrain_days=1)
    assert not worse.card.promoted
    more = pa.concat_tables([events, clean_events([(0, "user 0", "c0-new", "view")])])
    knowing = train(more, day(12), good, seed=1, warm_start=well)
    metrics = knowing.card.metrics
    assert knowing.card.promoted == (metrics["validation_ndcg_at_20"] >= metrics["served_validation_ndcg_at_20"])
    row = save(worse.model, worse.card, tmp_path, "all").to_pylist()[0] if worse.model else {}
    assert (row["promoted"], row["judged_against"]) == (False, load(well).version)


def test_an_item_that_the_served_model_does_not_know_counts_against_it(tmp_path: Path) -> None:
    """Both are evaluated on all items that users took, including those that only the challenger knows."""
    old = random_log(3, days=18)
    first = served(train(old, day(18), QUICK, seed=1), tmp_path)
    new = clean_events([(d, f"user {u}", "c9-new", "purchase") for d in range(14, 20) for u in range(30)])
    later = pa.concat_tables([random_log(3, days=20), new])
    second = train(later, day(20), QUICK, seed=1, warm_start=first)
    assert second.card.promoted
    assert second.card.metrics["served_validation_ndcg_at_20"] < second.card.metrics["validation_ndcg_at_20"]


def test_every_retrain_days_training_starts_from_scratch(tmp_path: Path) -> None:
    """Every third day owes nothing to the served model; the days between go on from it."""
    events = random_log(3, days=24)
    first = served(train(events, day(18), QUICK, seed=1), tmp_path)
    outcomes = [
        train(events, day(number), QUICK, seed=1, warm_start=first, retrain_days=3).card.outcome
        for number in range(19, 25)
    ]
    assert [outcome == "Trained from random weights" for outcome in outcomes].count(True) == 2
    assert outcomes[:3] == outcomes[3:]
    from_scratch = next(d for d, outcome in enumerate(outcomes, start=19) if outcome.startswith("Trained"))
    one, other = (
        train(events, day(from_scratch), QUICK, seed=1, warm_start=start, retrain_days=3) for start in (first, None)
    )
    assert weights(one.model) == weights(other.model)


def test_a_first_model_is_fine_tuned_from_that_of_all_segments(tmp_path: Path) -> None:
    """A segment without a model of its own starts from the weights of the pooled one, and its card says so."""
    base = served(train(random_log(7, users=60), day(20), QUICK, seed=1), tmp_path)
    own = train(random_log(8, users=10), day(20), QUICK, seed=1, base=base)
    assert own.card.outcome == "Fine-tuned from the model of all segments"
    assert own.card.warm_start == load(base).version
    assert own.card.promoted
    assert own.card.judged_against is None
