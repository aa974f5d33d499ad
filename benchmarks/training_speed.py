"""Tokens trained per CPU-second: ours alongside RecTools, RePlay and RecBole, on the same logs, with the same threads.

    python benchmarks/training_speed.py --peers /tmp/peers

makes a virtual environment per peer below `--peers` where there is none yet. A token is an event that predicts the
next one. Every trainer gets the same sequences, width, blocks, heads, length and batch, and runs in a process of its
own; the CPU time of one epoch is taken after an epoch to warm up. RecBole makes a row of every prefix, so it is
given few users; its cost per token does not depend on how many. RePlay is run through its Lightning module with
padded batches. All on random tokens with a popular head: what is learned does not matter here.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from report import recorded

ROOT = Path(__file__).parent.parent
TORCH = "torch==2.13.0"
PEERS = {
    "rectools": ["rectools[torch]==0.19.0", TORCH],
    "replay": ["replay-rec[torch]==0.22.0", TORCH],
    "recbole": ["recbole==1.2.1", "numpy==1.26.4", "scipy<1.14", "setuptools<81", "pandas<3", TORCH],
}
WIDTH, BLOCKS, HEADS, BATCH, NEGATIVES = 64, 2, 2, 128, 256
LOGS = {
    "short": {"users": 2950, "mean": 21, "length": 50, "items": 8000},
    "long": {"users": 320, "mean": 200, "length": 200, "items": 3500},
}
RUNS = {
    "ours, all items": ("ours", "chunked", "auto"),
    "ours, all items, float32": ("ours", "chunked", "float32"),
    "ours, 256 negatives": ("ours", "sampled", "auto"),
    "RecTools 0.19, softmax": ("rectools", "softmax", ""),
    "RecTools 0.19, sampled softmax 256": ("rectools", "sampled_softmax", ""),
    "RePlay 0.22, CE": ("replay", "CE", ""),
    "RecBole 1.2.1, CE": ("recbole", "CE", ""),
}
RECBOLE_USERS = 100


def sequences(log: str, users: int | None = None) -> tuple[list[np.ndarray], int, int]:
    """Item codes from 1, the catalogue's size, and the length at which a sequence is cut."""
    shape = LOGS[log]
    random = np.random.default_rng(0)
    spread = random.geometric(1 / (shape["mean"] - 4), shape["users"]) + 4
    lengths = (
        np.minimum(spread, shape["length"] + 1) if log == "short" else np.full(shape["users"], shape["length"] + 1)
    )
    popularity = 1 / np.arange(1, shape["items"] + 1) ** 0.8
    drawn = [random.choice(shape["items"], n, p=popularity / popularity.sum()) + 1 for n in lengths[:users]]
    return drawn, shape["items"], shape["length"]


def ours(log: str, loss: str, precision: str) -> dict[str, float]:
    sys.path.insert(0, str(ROOT))
    from shift_assets.models.data.sequences import Sequences, Vocabulary
    from shift_assets.models.data.validation import Validation
    from shift_assets.models.training.fit import fit
    from shift_assets.models.training.parameters import ModelParameters

    drawn, items, length = sequences(log)
    codes = np.concatenate(drawn).astype(np.int64)
    offsets = np.cumsum([0, *map(len, drawn)])
    one = np.ones_like(codes)
    learnable = Sequences(tuple(map(str, range(len(drawn)))), offsets, codes, one, one, one, one)
    vocabulary = Vocabulary(tuple(map(str, range(items))), ("all",), np.ones(items + 1, dtype=np.int64))
    nobody = Validation(learnable.of_users(np.arange(0)), codes[:0], codes[:0], masked=True)
    settings = ModelParameters.model_validate(
        {"device": "cpu", "objective": "next_event", "loss": loss, "precision": precision, "negatives": NEGATIVES,
         "dimensions": WIDTH, "layers": BLOCKS, "heads": HEADS, "batch_size": BATCH, "maximum_length": length,
         "maximum_epochs": 3}
    )  # fmt: skip
    times: list[float] = []
    fit(learnable, vocabulary, nobody, settings, seed=1, on_progress=lambda _: times.append(process_time()))
    return {"tokens": float(len(codes) - len(drawn)), "seconds": (times[-1] - times[0]) / 2}


def _clock(callback_type: type) -> tuple[Any, list[float]]:
    """A Lightning callback that notes the CPU time at the end of every epoch, and its notes."""
    times: list[float] = []
    noted = {"on_train_epoch_end": lambda *_: times.append(process_time())}
    return type("Clock", (callback_type,), noted)(), times


def rectools(log: str, loss: str, _precision: str) -> dict[str, float]:
    import pandas as pd
    from pytorch_lightning import Callback, Trainer
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    drawn, _, length = sequences(log)
    frame = pd.DataFrame(
        {
            "user_id": np.repeat(np.arange(len(drawn)), [len(d) for d in drawn]),
            "item_id": np.concatenate(drawn),
            "weight": 1,
            "datetime": pd.Timestamp("2024-01-01")
            + pd.to_timedelta(np.concatenate([range(len(d)) for d in drawn]), "D"),
        }
    )
    clock, times = _clock(Callback)
    model = SASRecModel(
        n_blocks=BLOCKS, n_heads=HEADS, n_factors=WIDTH, session_max_len=length, loss=loss, n_negatives=NEGATIVES,
        batch_size=BATCH, epochs=2,
        get_trainer_func=lambda: Trainer(
            max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False,
            enable_model_summary=False, callbacks=[clock],
        ),
    )  # fmt: skip
    model.fit(Dataset.construct(frame))
    return {"tokens": float(len(frame) - len(drawn)), "seconds": times[1] - times[0]}


def replay(log: str, loss: str, _precision: str) -> dict[str, float]:
    import lightning
    import pandas as pd
    from replay.data import FeatureHint, FeatureSource, FeatureType
    from replay.data.nn import PandasSequentialDataset, TensorFeatureInfo, TensorFeatureSource, TensorSchema
    from replay.models.nn.sequential.sasrec import SasRec, SasRecTrainingDataset
    from torch.utils.data import DataLoader

    drawn, items, length = sequences(log)
    feature = TensorFeatureInfo(
        name="items", feature_type=FeatureType.CATEGORICAL, is_seq=True, cardinality=items, padding_value=items,
        feature_hint=FeatureHint.ITEM_ID, feature_sources=[TensorFeatureSource(FeatureSource.INTERACTIONS, "items")],
    )  # fmt: skip
    schema = TensorSchema([feature])
    frame = pd.DataFrame({"user": np.arange(len(drawn)), "items": [d - 1 for d in drawn]})
    data = SasRecTrainingDataset(PandasSequentialDataset(schema, "user", "items", frame), max_sequence_length=length)
    model = SasRec(schema, block_count=BLOCKS, head_count=HEADS, hidden_size=WIDTH, max_seq_len=length, loss_type=loss)
    clock, times = _clock(lightning.Callback)
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False,
        enable_model_summary=False, callbacks=[clock],
    )  # fmt: skip
    trainer.fit(model, DataLoader(data, batch_size=BATCH, shuffle=True))
    return {"tokens": float(sum(map(len, drawn)) - len(drawn)), "seconds": times[1] - times[0]}


def recbole(log: str, loss: str, _precision: str) -> dict[str, float]:
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer

    drawn, _, length = sequences(log, RECBOLE_USERS)
    folder = Path(tempfile.mkdtemp())
    (folder / "log").mkdir()
    rows = [f"{user}\t{item}\t{place}" for user, seen in enumerate(drawn) for place, item in enumerate(seen)]
    (folder / "log" / "log.inter").write_text(
        "\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]) + "\n"
    )
    # The catalogue has to hold every item, or the softmax would be smaller than the others'.
    (folder / "log" / "log.item").write_text("item_id:token\n" + "\n".join(map(str, range(1, LOGS[log]["items"] + 1))))
    chosen = {
        "data_path": str(folder), "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]},
        "eval_args": {"split": {"RS": [1, 0, 0]}, "order": "TO", "group_by": "user", "mode": "full"},
        "train_neg_sample_args": None, "loss_type": loss, "n_layers": BLOCKS, "n_heads": HEADS, "hidden_size": WIDTH,
        "inner_size": 2 * WIDTH, "MAX_ITEM_LIST_LENGTH": length, "train_batch_size": 2048, "use_gpu": False,
        "state": "ERROR", "show_progress": False, "checkpoint_dir": str(folder),
    }  # fmt: skip
    sys.argv = sys.argv[:1]
    config = Config(model="SASRec", dataset="log", config_dict=chosen)
    dataset = create_dataset(config)
    train_data, _, _ = data_preparation(config, dataset)
    model = get_model("SASRec")(config, train_data.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], "SASRec")(config, model)
    began = process_time()
    trainer._train_epoch(train_data, 0)
    return {"tokens": float(len(train_data.dataset)), "seconds": process_time() - began}


def _environment(peers: Path, name: str) -> Path:
    """The Python of a peer's own environment, made where it is absent."""
    python = peers / name / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(peers / name)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PEERS[name]], check=True)
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, help="folder of the peers' environments; without it only ours runs")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--logs", nargs="+", choices=list(LOGS), default=list(LOGS))
    parser.add_argument("--worker", nargs=4, metavar=("TRAINER", "LOG", "LOSS", "PRECISION"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        trainer, *rest = arguments.worker
        trainers = {"ours": ours, "rectools": rectools, "replay": replay, "recbole": recbole}
        print(json.dumps(trainers[trainer](*rest)))
        return
    threads = str(arguments.threads)
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
    # RecBole 1.2.1 loads its files with pickle, which torch refuses since 2.6.
    environment = os.environ | limits | {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1", "PYTHONWARNINGS": "ignore"}
    for log in arguments.logs:
        print(f"\n| {log} log: {LOGS[log]} | tokens per CPU-second | CPU-seconds per 50k tokens |\n|---|---|---|")
        for name, (trainer, loss, precision) in RUNS.items():
            if trainer != "ours" and (not arguments.peers or (log == "long" and trainer == "recbole")):
                continue
            python = sys.executable if trainer == "ours" else str(_environment(arguments.peers, trainer))
            command = [python, str(Path(__file__).resolve()), "--worker", trainer, log, loss, precision or "auto"]
            with tempfile.TemporaryDirectory() as scratch:  # RecBole writes into the working folder
                done = subprocess.run(
                    command, env=environment, capture_output=True, text=True, check=False, timeout=900, cwd=scratch
                )
            if done.returncode:
                print(f"| {name} | failed | {done.stderr.strip().splitlines()[-1][:200]} |", flush=True)
                continue
            answer = json.loads(done.stdout.strip().splitlines()[-1])
            speed = answer["tokens"] / answer["seconds"]
            print(f"| {name} | {speed:,.0f} | {50_000 / speed:,.1f} |", flush=True)


if __name__ == "__main__":
    with nullcontext() if "--worker" in sys.argv else recorded("16_training_speed"):
        main()
