"""Processor time and peak memory of a block of code."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

CLEAR_PEAK = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")


@dataclass
class ResourceUsage:
    """Processor seconds of all threads, and peak resident memory in MiB, of the whole process."""

    cpu_seconds: float = 0.0
    peak_memory_mib: float = 0.0


@contextmanager
def measure_usage() -> Iterator[ResourceUsage]:
    """Measure a block of code; the yielded usage is filled in when the block ends.

    The peak is that of the block where the kernel can reset it (Linux, proc(5): clear_refs), else that of the process
    so far.
    """
    usage = ResourceUsage()
    with suppress(OSError):
        CLEAR_PEAK.write_text("5")
    start = time.process_time()
    yield usage
    usage.cpu_seconds = time.process_time() - start
    usage.peak_memory_mib = _peak_mib()


def _peak_mib() -> float:
    with suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
