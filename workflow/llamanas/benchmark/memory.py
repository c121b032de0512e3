"""Peak memory of a process that does nothing but load a network and run it: `python -m llamanas.benchmark.memory`."""

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

from llamanas.benchmark.session import OnnxEngine
from llamanas.errors import LlamaNasError


def peak_memory(path: Path, batch: int, prompt_tokens: int, new_tokens: int, threads: int) -> int:
    """Most resident bytes of a fresh process that loads a network and continues so many prompts of so many tokens.

    Raises:
        LlamaNasError: that process failed.
    """
    numbers = map(str, (batch, prompt_tokens, new_tokens, threads))
    command = [sys.executable, "-m", "llamanas.benchmark.memory", str(path.resolve()), *numbers]
    package = Path(__file__).parents[2]
    child = subprocess.run(command, cwd=package, capture_output=True, text=True)
    if child.returncode:
        reason = (child.stderr.strip() or f"status {child.returncode}").splitlines()[-1]
        raise LlamaNasError(f"the process that measures the memory of {path} failed: {reason}")
    return int(child.stdout)


def own_peak() -> int:
    """Most resident bytes of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux ru_maxrss would count what the parent had when it started this process
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _run_alone(path: str, batch: int, prompt_tokens: int, new_tokens: int, threads: int) -> None:
    engine = OnnxEngine(Path(path), threads)
    engine.prefill(np.zeros((batch, prompt_tokens), np.int64))
    engine.decode(new_tokens - 1)
    print(own_peak())


if __name__ == "__main__":
    _run_alone(sys.argv[1], *map(int, sys.argv[2:]))
