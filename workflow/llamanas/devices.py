"""Which device a job computes on; several local jobs share the GPUs of a machine by leasing one each."""

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from llamanas.errors import LlamaNasError


def visible_gpus() -> int:
    """Number of NVIDIA device files on this machine; needs no GPU library, so the Snakefile may ask."""
    return len([path for path in Path("/dev").glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()])


def _lock_free_gpu(count: int) -> tuple[int, IO[str]] | None:
    for index in range(count):
        lock = (Path(tempfile.gettempdir()) / f"llamanas-{os.getuid()}-gpu-{index}.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return index, lock
        except BlockingIOError:
            lock.close()
    return None


@contextmanager
def leased_device(wanted: str) -> Iterator[str]:
    """The torch device name for one job: ``cpu`` or ``cuda:<index>``.

    ``wanted`` is ``auto`` (CUDA if there is any), ``cpu`` or ``cuda``. Where a scheduler has given one GPU through
    CUDA_VISIBLE_DEVICES it is used; elsewhere one of the visible GPUs is leased by a file lock until the context ends.

    Raises:
        LlamaNasError: ``cuda`` is wanted and there is none.
    """
    if wanted == "cpu":
        yield "cpu"
        return
    import torch

    if not torch.cuda.is_available():
        if wanted == "cuda":
            raise LlamaNasError(
                "compute.device is 'cuda' but PyTorch sees no GPU here. Set compute.device to 'auto' or 'cpu', or run "
                "on a machine with a GPU and a CUDA build of PyTorch."
            )
        yield "cpu"
        return
    if "CUDA_VISIBLE_DEVICES" in os.environ and torch.cuda.device_count() == 1:
        yield "cuda:0"
        return
    while (lease := _lock_free_gpu(torch.cuda.device_count())) is None:
        time.sleep(1)
    index, lock = lease
    with lock:
        yield f"cuda:{index}"
