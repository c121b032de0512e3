"""Which device a job computes on; several local jobs share the GPUs of a machine by leasing one each."""

import fcntl
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from llamanas.errors import LlamaNasError

DEVICE_FILES, CPU_FILE = Path("/dev"), Path("/proc/cpuinfo")
# Of `benchmark.runtimes`, those that run the exported files on a GPU, and ONNX Runtime's name of what computes there.
ONNX_ON_GPU = {"onnxruntime_cuda": "CUDA", "onnxruntime_tensorrt": "TensorRT"}
# Environment of `compute.portable`, read when a library is loaded or first computes: kernels that every CPU with AVX2
# has, which add in the same order on each. MKL promises that to CPUs that are not Intel's for COMPATIBLE alone. NumPy's
# names are those of 2.4, as the lock has it.
PORTABLE = {
    "MKL_CBWR": "COMPATIBLE",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
}
TIMED = ("benchmark_speed", "measure_latency")  # rules that compute as fast as the CPU can all the same


def portable_kernels() -> dict[str, str]:
    """The environment of `compute.portable`; an empty one, with a word why, where the CPU is none that it is for.

    PyTorch would take the kernels that it names without looking whether the CPU has them.
    """
    if platform.machine() == "x86_64" and CPU_FILE.exists() and " avx2 " in CPU_FILE.read_text():
        return PORTABLE
    print("compute.portable changes nothing: this is no x86-64 CPU with AVX2", file=sys.stderr)
    return {}


def processor() -> str:
    """This machine's processor, with family and model where Linux tells them, since virtual machines shorten names."""
    first = CPU_FILE.read_text().split("\n\n")[0] if CPU_FILE.exists() else ""
    about = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    name = about.get("model name") or platform.processor() or platform.machine()
    return f"{name} (family {about['cpu family']}, model {about['model']})" if "cpu family" in about else name


def visible_gpus() -> int:
    """Number of NVIDIA device files on this machine that CUDA_VISIBLE_DEVICES does not hide.

    It needs no GPU library, so the Snakefile may ask.
    """
    present = len([path for path in DEVICE_FILES.glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()])
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return present if named is None else min(present, len([name for name in named.split(",") if name.strip()]))


def check_gpus(limit: float | None, processes: int, visible: int) -> None:
    """Refuse a plan that this machine's GPUs cannot keep, before any job starts.

    ``limit`` is how many GPUs local jobs may use together (Snakemake's `--resources gpu=`), ``processes`` how many each
    training takes, 0 where none is used; a limit of 1 is right without a GPU too.

    Raises:
        LlamaNasError: the limit is above what is visible, or a training takes more than the limit.
    """
    if limit is None:
        limit = visible
    if limit > max(visible, 1):
        raise LlamaNasError(
            f"resources: gpu is {limit:g}, but {visible} GPUs are visible on this machine, so that jobs would wait for "
            f"each other. Set it to {max(visible, 1)} in profiles/default or with --resources gpu={max(visible, 1)}; "
            "nvidia-smi and CUDA_VISIBLE_DEVICES say which GPUs there are."
        )
    if processes > limit:
        raise LlamaNasError(
            f"compute.processes is {processes}, but resources: gpu lets local jobs use {limit:g} GPUs. Lower it, or "
            f"raise the limit with --resources gpu={processes}; {visible} GPUs are visible here."
        )


def check_runtimes(runtimes: list[str], gpu: bool) -> None:
    """Refuse runtimes that need a GPU where jobs compute on none.

    Raises:
        LlamaNasError: with the runtimes.
    """
    wanted = [name for name in runtimes if name in ONNX_ON_GPU]
    if wanted and not gpu:
        raise LlamaNasError(
            f"benchmark.runtimes has {', '.join(wanted)}, but jobs compute on no GPU here. Leave it out, or run on a "
            "machine with an NVIDIA GPU, compute.device auto or cuda, and onnxruntime-gpu in place of onnxruntime."
        )


def _lock_free_gpus(visible: int, count: int) -> dict[int, IO[str]]:
    """Locks of ``count`` GPUs that no other job holds, by their numbers; none if there are fewer."""
    held: dict[int, IO[str]] = {}
    # Jobs that see different GPUs number them alike, but the names that they were given differ.
    given = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    names = given if len(given) == visible else [str(index) for index in range(visible)]
    for index, name in enumerate(names):
        lock: IO[str] = (Path(tempfile.gettempdir()) / f"llamanas-{os.getuid()}-gpu-{name}.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        held[index] = lock
        if len(held) == count:
            return held
    for lock in held.values():
        lock.close()
    return {}


def add_in_one_order() -> None:
    """Let PyTorch take algorithms alone that give the same bytes each time; to be called before a GPU computes."""
    import torch
    import torch._inductor.config

    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # read when cuBLAS starts; its own choice varies
    torch.use_deterministic_algorithms(True)
    torch._inductor.config.deterministic = True  # else it picks what a measurement says is fast
    # All memory is written before it is read.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextmanager
def leased_devices(wanted: str, count: int = 1) -> Iterator[list[str]]:
    """The torch devices of a job's processes: ``cpu`` for each, or as many different ``cuda:<index>``.

    ``wanted`` is ``auto`` (CUDA if there is any), ``cpu`` or ``cuda``. Where a scheduler has given just so many GPUs
    through CUDA_VISIBLE_DEVICES they are used; elsewhere some of the visible GPUs are leased by file locks until the
    context ends.

    Raises:
        LlamaNasError: ``cuda`` is wanted and there is none, or there are fewer GPUs than processes.
    """
    if wanted == "cpu":
        yield ["cpu"] * count
        return
    import torch

    visible = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "cuda" and not visible:
        raise LlamaNasError(
            "compute.device is 'cuda' but PyTorch sees no GPU here. Set compute.device to 'auto' or 'cpu', or run "
            "on a machine with a GPU and a CUDA build of PyTorch."
        )
    if not visible:
        yield ["cpu"] * count
        return
    if visible < count:
        raise LlamaNasError(
            f"compute.processes is {count}, but PyTorch sees {visible} GPUs here. Lower it, or on SLURM ask for as "
            "many GPUs (set-resources in profiles/slurm)."
        )
    if "CUDA_VISIBLE_DEVICES" in os.environ and visible == count:
        yield [f"cuda:{index}" for index in range(count)]
        return
    while not (held := _lock_free_gpus(visible, count)):
        time.sleep(1)
    with ExitStack() as locks:
        for lock in held.values():
            locks.enter_context(lock)
        yield [f"cuda:{index}" for index in held]
