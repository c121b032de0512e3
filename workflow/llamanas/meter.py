"""What a job takes of its GPUs: the largest memory, and energy as NVIDIA's management library (NVML) counts it."""

import ctypes
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_LINE = re.compile(r"^took of its GPUs: (\d+|unknown) MB at most, (\d+|unknown) J$", re.MULTILINE)


@contextmanager
def metered(devices: list[str]) -> Iterator[None]:
    """Print, when the context ends, what the job has taken of these torch devices; nothing on CPUs.

    Energy is that of the whole devices meanwhile, in joules. Memory is in MB (2^20 bytes), the most that this process
    has reserved on one of them; unknown where other processes of the job compute.
    """
    if devices[0] == "cpu":
        yield
        return
    import torch

    before = [energy(device) for device in devices]
    try:
        yield
    finally:
        pairs = zip(before, [energy(device) for device in devices], strict=True)
        spent = [end - begin for begin, end in pairs if begin is not None and end is not None]
        joules = f"{sum(spent):.0f}" if len(spent) == len(devices) else "unknown"
        peak = max(torch.cuda.max_memory_reserved(device) for device in devices)
        memory = f"{peak / 2**20:.0f}" if peak else "unknown"
        print(f"took of its GPUs: {memory} MB at most, {joules} J", file=sys.stderr, flush=True)


def taken(log: str) -> tuple[float | None, float | None]:
    """Memory in MB and energy in joules that a job's log tells of."""
    found = _LINE.search(log)
    memory, joules = (None if text == "unknown" else float(text) for text in found.groups()) if found else (None, None)
    return memory, joules


def energy(device: str) -> float | None:
    """Joules that a GPU has used since its driver was loaded; None where NVML or the GPU does not tell."""
    import torch

    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}".encode()  # NVML ignores CUDA_VISIBLE_DEVICES
    handle, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        failed = (
            nvml.nvmlInit_v2()
            or nvml.nvmlDeviceGetHandleByUUID(uuid, ctypes.byref(handle))
            or nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules))
        )
    except (OSError, AttributeError):  # no driver's library, or one without this function
        return None
    return None if failed else millijoules.value / 1000
