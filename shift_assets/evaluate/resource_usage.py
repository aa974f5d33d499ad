"""What a piece of work cost: processor time and peak memory of this process."""

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
    """Processor seconds of all threads, and the peak of resident memory in MiB, of the process as a whole."""

    cpu_seconds: float = 0.0
    peak_memory_mib: float = 0.0


@contextmanager
def measure_usage() -> Iterator[ResourceUsage]:
    """Filled in when the block ends.

    The peak is that of the block where the kernel lets a process reset its own (Linux, proc(5): clear_refs), else
    that of the process so far.
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
