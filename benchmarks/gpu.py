"""What a GPU makes of training and ranking: a Markdown table, in less than ten minutes.

    python benchmarks/gpu.py > gpu.md          on a machine with CUDA
    python benchmarks/gpu.py --toy             the same program at toy size on a CPU, to know that it works

Training: tokens per second of whole steps, with all data on the host. The share of the roofline compares the
floating-point operations that the mathematics needs, forward and backward, with what a large bfloat16 matrix product
reaches on the same device. Ranking: users per second for the best 20 of all items.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch

from report import recorded

sys.path.insert(0, str(Path(__file__).parent.parent))

from shift_assets.models.data.sequences import Sequences
from shift_assets.models.network.blocks import Shape
from shift_assets.models.network.encoder import CausalEncoder
from shift_assets.models.network.precision import has_bfloat16
from shift_assets.models.training.examples import Examples, Points, prefetch
from shift_assets.models.training.fit import step_loss
from shift_assets.models.training.parameters import ModelParameters


class Training(NamedTuple):
    """One row of the table: the encoder's size, the catalogue, the loss, and tokens per step."""

    dimensions: int
    layers: int
    length: int
    items: int
    loss: str
    negatives: int
    tokens: int


TRAININGS = [
    Training(128, 2, 200, 100_000, "sampled", 1024, 131_072),
    Training(256, 4, 200, 100_000, "sampled", 1024, 131_072),
    Training(64, 2, 50, 12_000, "sampled", 1024, 131_072),
    Training(128, 2, 200, 12_000, "chunked", 0, 65_536),
    Training(128, 2, 200, 100_000, "chunked", 0, 65_536),
    Training(128, 2, 200, 1_000_000, "chunked", 0, 16_384),
    Training(128, 2, 200, 1_000_000, "sampled", 1024, 131_072),
]
RANKINGS = [(1_000_000, 100_000, 128), (30_000, 8_000, 64)]
USERS_PER_BLOCK = 4096
SECONDS_PER_ROW = 20.0
LEAST_STEPS = 3


def toy(training: Training) -> Training:
    """The same, small enough for a CPU."""
    return training._replace(
        length=min(training.length, 20), items=max(training.items // 1000, 50), tokens=400,
        negatives=min(training.negatives, 32),
    )  # fmt: skip


def log(training: Training, random: np.random.Generator) -> Sequences:
    """Two steps' worth of users with histories of half to all of the length, on items with a popular head."""
    users = max(2, 2 * training.tokens * 4 // (3 * training.length))
    lengths = random.integers(training.length // 2, training.length + 1, users) + 1
    items = (training.items * random.random(lengths.sum()) ** 2).astype(np.int64) + 1
    one = np.ones_like(items)
    return Sequences(tuple(map(str, range(users))), np.append(0, np.cumsum(lengths)), items, one, one, one, one)


def operations_per_token(training: Training, candidates: float) -> float:
    """Floating-point operations of forward and backward: blocks, causal attention, and the loss."""
    width = training.dimensions
    blocks = 6 * 8 * width**2 * training.layers
    attention = 3.5 * 2 * 0.75 * training.length * width * training.layers
    return blocks + attention + 6 * candidates * width


def synchronised(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return perf_counter()


def roof(device: torch.device, size: int) -> float:
    """Operations per second of a matrix product of `size` squared in the numbers that training uses."""
    number = torch.bfloat16 if has_bfloat16(device) else torch.float32
    left, right = (torch.randn(size, size, device=device, dtype=number) for _ in range(2))
    left @ right
    began = synchronised(device)
    for _ in range(10):
        left @ right
    return 10 * 2 * size**3 / (synchronised(device) - began)


def trained(training: Training, device: torch.device) -> tuple[float, float]:
    """Tokens per second, and the loss's candidates per step on average."""
    settings = ModelParameters.model_validate(
        {"objective": "next_event", "dimensions": training.dimensions, "layers": training.layers, "heads": 2,
         "maximum_length": training.length, "loss": training.loss, "negatives": max(training.negatives, 1),
         "batch_size": max(1, training.tokens * 4 // (3 * training.length))}
    )  # fmt: skip
    random = np.random.default_rng(0)
    torch.manual_seed(0)
    sequences = log(training, random)
    shape = Shape(
        items=training.items, categories=1, dimensions=training.dimensions, layers=training.layers, heads=2,
        dropout=0.1, maximum_length=training.length, repeats=False,
    )  # fmt: skip
    network = CausalEncoder(shape).to(device).train()
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, fused=True)
    examples = Examples(Points.of(sequences, settings), training.items, settings, repeats=False, newest_first=False)
    mixed_precision = has_bfloat16(device)
    tokens, candidates, steps, began = 0, 0, -LEAST_STEPS, 0.0
    for example in prefetch(examples.steps(random), device):
        if steps == 0:
            tokens, candidates, began = 0, 0, synchronised(device)
        loss = step_loss(network, example, settings, mixed_precision=mixed_precision)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        tokens += len(example.points)
        candidates += training.items if example.candidates is None else len(example.candidates)
        steps += 1
        if steps >= LEAST_STEPS and synchronised(device) - began > SECONDS_PER_ROW / (
            1 if device.type == "cuda" else 50
        ):
            break
    return tokens / (synchronised(device) - began), candidates / steps


def ranked(users: int, items: int, width: int, device: torch.device) -> float:
    """Users per second for the best 20 of all items, in blocks."""
    number = torch.bfloat16 if has_bfloat16(device) else torch.float32
    vectors = torch.randn(users, width, dtype=number)
    table = torch.randn(items, width, device=device, dtype=number)
    vectors = vectors.pin_memory() if device.type == "cuda" else vectors
    began = synchronised(device)
    for start in range(0, users, USERS_PER_BLOCK):
        block = vectors[start : start + USERS_PER_BLOCK].to(device, non_blocking=True)
        (block @ table.T).topk(20).indices.to("cpu", non_blocking=True)
    return users / (synchronised(device) - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="toy sizes, on a CPU")
    arguments = parser.parse_args()
    if not arguments.toy and not torch.cuda.is_available():
        parser.error("no CUDA device; with --toy the program runs on a CPU")
    device = torch.device("cpu" if arguments.toy else "cuda")
    peak = roof(device, 512 if arguments.toy else 8192)
    name = "CPU, toy sizes" if arguments.toy else torch.cuda.get_device_name()
    print(f"{name}, torch {torch.__version__}; a large matrix product reaches {peak / 1e12:.3g} TFLOP/s\n")
    print("| training | loss | tokens/s | share of the roofline | peak memory, GiB |\n|---|---|---|---|---|")
    for row in TRAININGS:
        training = toy(row) if arguments.toy else row
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        speed, candidates = trained(training, device)
        share = speed * operations_per_token(training, candidates) / peak
        memory = f"{torch.cuda.max_memory_allocated() / 2**30:.1f}" if device.type == "cuda" else "-"
        size = f"d={training.dimensions} × {training.layers}, L={training.length}, {training.items:,} items"
        loss = training.loss + (f" {training.negatives}" if training.negatives else "")
        print(f"| {size} | {loss} | {speed:,.0f} | {share:.1%} | {memory} |", flush=True)
    print("\n| ranking | users/s | seconds in all |\n|---|---|---|")
    for users, items, width in RANKINGS:
        users, items = (users // 1000, items // 100) if arguments.toy else (users, items)  # noqa: PLW2901
        speed = ranked(users, items, width, device)
        print(f"| {users:,} users × {items:,} items, d={width} | {speed:,.0f} | {users / speed:.2f} |", flush=True)


if __name__ == "__main__":
    with nullcontext() if "--toy" in sys.argv else recorded("22_gpu"):
        main()
