"""Recommendations for the days that follow: ours and the SASRec of RecTools and RePlay, on one split.

    python benchmarks/list_peers.py --home HOME --segment united-kingdom --peers /tmp/peers

HOME is an installation whose log is landed. Peers run in their own virtual environments (made where absent), get the
same training events, and make lists for the same users over the same items; all lists are evaluated by the same code.
A peer's number of epochs is, of those given, the best on the validation days; then it is retrained on all days
before the test. Ours is evaluated by `shift-assets evaluate recommendations`, here called as a function.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from training_speed import BATCH, BLOCKS, HEADS, ROOT, _environment

from report import recorded

WIDTH, LENGTH, PLACES = 64, 100, 20


def rectools(frame: Any, users: list[str], epochs: int) -> Any:
    from pytorch_lightning import Trainer
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    model = SASRecModel(
        n_blocks=BLOCKS, n_heads=HEADS, n_factors=WIDTH, session_max_len=LENGTH, loss="softmax", batch_size=BATCH,
        epochs=epochs, dropout_rate=0.2,
        get_trainer_func=lambda: Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False,
            enable_model_summary=False,
        ),
    )  # fmt: skip
    data = Dataset.construct(frame.assign(weight=1))
    model.fit(data)
    known = [user for user in users if user in set(frame["user_id"])]
    found = model.recommend(known, data, k=PLACES, filter_viewed=False, on_unsupported_targets="ignore")
    return found[["user_id", "item_id", "rank"]]


def replay(frame: Any, users: list[str], epochs: int) -> Any:
    import lightning
    import pandas as pd
    import torch
    from replay.data import FeatureHint, FeatureSource, FeatureType
    from replay.data.nn import PandasSequentialDataset, TensorFeatureInfo, TensorFeatureSource, TensorSchema
    from replay.models.nn.sequential.sasrec import SasRec, SasRecPredictionDataset, SasRecTrainingDataset
    from torch.utils.data import DataLoader

    names = sorted(frame["item_id"].unique())
    code = {name: place for place, name in enumerate(names)}
    feature = TensorFeatureInfo(
        name="items", feature_type=FeatureType.CATEGORICAL, is_seq=True, cardinality=len(names),
        padding_value=len(names), feature_hint=FeatureHint.ITEM_ID,
        feature_sources=[TensorFeatureSource(FeatureSource.INTERACTIONS, "items")],
    )  # fmt: skip
    schema = TensorSchema([feature])
    grouped = frame.sort_values(["user_id", "datetime", "place"]).groupby("user_id")["item_id"]
    histories = grouped.apply(lambda items: np.array([code[item] for item in items]))
    packed = pd.DataFrame({"user": np.arange(len(histories)), "items": histories.to_list()})
    data = PandasSequentialDataset(schema, "user", "items", packed)
    model = SasRec(
        schema, block_count=BLOCKS, head_count=HEADS, hidden_size=WIDTH, max_seq_len=LENGTH, loss_type="CE",
        dropout_rate=0.2,
    )  # fmt: skip
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False,
        enable_model_summary=False,
    )  # fmt: skip
    training = SasRecTrainingDataset(data, max_sequence_length=LENGTH)
    trainer.fit(model, DataLoader(training, batch_size=BATCH, shuffle=True))
    asked = DataLoader(SasRecPredictionDataset(data, max_sequence_length=LENGTH), batch_size=512)
    scores = torch.cat(trainer.predict(model, asked))[:, : len(names)]
    best = scores.topk(PLACES).indices.numpy()
    wanted = set(users)
    rows = [
        (user, names[item], rank + 1)
        for user, items in zip(histories.index, best, strict=True)
        if user in wanted
        for rank, item in enumerate(items)
    ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "rank"])


def work(trainer: str, folder: Path, epochs: int) -> None:
    """In a peer's environment: the lists of `folder/events.csv` for the users in `folder/users.json`."""
    import pandas as pd
    import torch

    torch.manual_seed(1)
    torch.set_num_threads(1)
    frame = pd.read_csv(folder / "events.csv", dtype={"user_id": str, "item_id": str}, parse_dates=["datetime"])
    users = json.loads((folder / "users.json").read_text())
    made = {"rectools": rectools, "replay": replay}[trainer](frame, users, epochs)
    made.astype({"user_id": str, "item_id": str}).to_csv(folder / "lists.csv", index=False)


def lists_of(trainer: str, peers: Path, task: Any, events: Any, epochs: int) -> tuple[Any, float]:
    """The peer's lists [user, place] for the task's users, as item indices, and its CPU-seconds."""
    import pandas as pd
    import pyarrow as pa

    window = task.window
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        place = pa.array(np.arange(events.num_rows))
        columns = {"user_id": events["user_id"], "item_id": events["item_id"], "datetime": events["event_ts"]}
        pa.table({**columns, "place": place}).to_pandas().to_csv(folder / "events.csv", index=False)
        users = [window.sequences.users[user] for user in task.users]
        (folder / "users.json").write_text(json.dumps(users))
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        command = [str(_environment(peers, trainer)), str(Path(__file__).resolve()), "--worker", trainer, name]
        before = os.times()
        done = subprocess.run(
            [*command, str(epochs)], env=os.environ | threads | {"PYTHONWARNINGS": "ignore"}, cwd=name,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        tasks_after = os.times()
        if done.returncode:
            raise SystemExit(f"{trainer}: {done.stderr.strip()[-2000:]}")
        made = pd.read_csv(folder / "lists.csv", dtype={"user_id": str, "item_id": str}).to_dict("records")
    item = {name: number for number, name in enumerate(window.vocabulary.items)}
    row = {name: number for number, name in enumerate(users)}
    lists = np.full((len(users), PLACES), -1)
    for one in made:
        lists[row[one["user_id"]], one["rank"] - 1] = item.get(one["item_id"], -1)
    spent = tasks_after.children_user - before.children_user + tasks_after.children_system - before.children_system
    return lists, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--segment")
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--epochs", type=int, nargs="+", default=[10, 40], help="of the peers, tried on the validation")
    parser.add_argument("--until", type=date.fromisoformat, help="evaluate as if the log ended the day before")
    parser.add_argument("--worker", nargs=3, metavar=("PEER", "FOLDER", "EPOCHS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        trainer, folder, epochs = arguments.worker
        work(trainer, Path(folder), int(epochs))
        return
    sys.path.insert(0, str(ROOT))
    import pyarrow.compute as pc

    from shift_assets.evaluate.ranking_tasks import quality
    from shift_assets.evaluate.temporal_split import WINDOW, TemporalSplit, report, tasks_after
    from shift_assets.recommend.context import build_context
    from shift_assets.workspace.home import open_workspace
    from shift_assets.workspace.landed import load_events

    workspace = open_workspace(arguments.home)
    settings = workspace.settings
    events = load_events(workspace)
    if arguments.segment:
        events = events.filter(pc.field("segment") == arguments.segment)
    if arguments.until:
        events = events.filter(pc.field("day") < arguments.until)
    borders = TemporalSplit.of(events["day"], settings.outcomes.horizon_days)
    evaluated = {"samples": settings.outcomes.bootstrap_samples, "seed": settings.seed}
    found: list[tuple[str, Any, float]] = []
    kept = events.filter(pc.field("behavior") != "return")
    for trainer in ("rectools", "replay") if arguments.peers else ():
        best = (-1.0, arguments.epochs[0])
        for border, end in ((borders.validation, borders.test), (borders.test, borders.end)):
            task = tasks_after(events, border, end, settings.recommendations, settings.seed)[WINDOW]
            oldest = min(task.window.sequences.days)
            before = kept.filter((pc.field("day") < border) & (pc.field("day").cast("int32") >= int(oldest)))
            for epochs in arguments.epochs if border == borders.validation else (best[1],):
                lists, spent = lists_of(trainer, arguments.peers, task, before, epochs)
                metrics = quality(lists, task, **evaluated)
                print(f"{trainer} {border} {epochs} epochs: NDCG@10 {metrics.ndcg_at_10.value:.4f}", file=sys.stderr)
                if border == borders.validation:
                    best = max(best, (metrics.ndcg_at_10.value, epochs))
        found.append((f"{trainer} SASRec, {best[1]} epochs", metrics, spent))
    ours = report(
        build_context(events, settings, workspace.parse_context.items), settings, seed=settings.seed, on_progress=_quiet
    )
    rows = [row for row in ours.evaluated if row.task == WINDOW]
    found += [(row.contender, row.quality, row.training.cpu_seconds + row.scoring.cpu_seconds) for row in rows]
    print(f"\n{arguments.segment or 'all'}: {borders.test} to before {borders.end}, {rows[0].quality.users} users\n")
    print("| lists from | recall@20 | NDCG@10 | debiased NDCG@10 | coverage@20 | novelty | CPU-seconds |")
    print("|---|---|---|---|---|---|---|")
    for name, metrics, spent in found:
        margin = (metrics.recall_at_20.high - metrics.recall_at_20.low) / 2
        print(
            f"| {name} | {metrics.recall_at_20.value:.4f} ±{margin:.4f} | {metrics.ndcg_at_10.value:.4f} "
            f"| {metrics.debiased_ndcg_at_10.value:.4f} | {metrics.coverage_at_20:.1%} "
            f"| {metrics.novelty_at_20.value:.1f} "
            f"| {spent:.0f} |"
        )


def _quiet(_: str) -> None:
    """Nothing: the table at the end is the report."""


if __name__ == "__main__":
    with nullcontext() if "--worker" in sys.argv else recorded("20_peers"):
        main()
