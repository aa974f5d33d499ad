"""Laws of the fence: of all attempts at a partition only the latest may publish."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from shift_assets.storage.fence import Fence, FencedOut
from shift_assets_tests.lakes import partitions

ROOT = Path(__file__).parents[2]
ONE, OTHER = partitions(1)


def test_the_latest_claim_holds_and_earlier_ones_do_not(tmp_path: Path) -> None:
    fence = Fence(tmp_path / "fence.sqlite")
    first, second = fence.claim("t", [ONE], "first"), fence.claim("t", [ONE], "second")
    with fence.holding(second):
        pass
    with pytest.raises(FencedOut, match=r"attempt 1 was superseded by attempt 2 of second"), fence.holding(first):
        pytest.fail("a superseded attempt held the fence")


def test_other_partitions_and_other_tables_do_not_supersede(tmp_path: Path) -> None:
    fence = Fence(tmp_path / "fence.sqlite")
    claim = fence.claim("t", [ONE], "first")
    fence.claim("t", [OTHER], "second")
    fence.claim("another", [ONE], "third")
    with fence.holding(claim):
        pass


def test_tokens_rise_between_processes(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from shift_assets.storage.fence import Fence\n"
        "from shift_assets_tests.lakes import partitions\n"
        "print(*[Fence(Path(sys.argv[1])).claim('t', partitions(1), 'p').token for _ in range(20)])"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "fence.sqlite")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)]
    tokens = [[int(token) for token in process.communicate()[0].split()] for process in processes]
    assert all(found == sorted(found) for found in tokens)
    assert sorted(tokens[0] + tokens[1]) == list(range(1, 41))


def test_a_fault_while_holding_frees_the_fence(tmp_path: Path) -> None:
    fence = Fence(tmp_path / "fence.sqlite")
    claim = fence.claim("t", [ONE], "first")
    with pytest.raises(KeyError), fence.holding(claim):
        raise KeyError
    with fence.holding(claim):
        pass
