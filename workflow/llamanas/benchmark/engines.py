"""The runtimes that rule benchmark_speed times networks in."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from llamanas.architecture import Architecture
from llamanas.benchmark.memory import peak_memory
from llamanas.benchmark.session import OnnxEngine
from llamanas.benchmark.speed import Engine, speed_rows
from llamanas.benchmark.torch_network import TorchNetwork
from llamanas.export.files import data_file
from llamanas.export.onnx import write_onnx
from llamanas.export.weights import SubnetTensors, WeightFile
from llamanas.models.families import read_config, shape_of


def onnx_rows(
    pick: Path, full: Path, settings: dict, threads: int, seed: int, device: str = "cpu", provider: str = "CPU"
) -> Iterator[dict]:
    """Rows of artifact ``speed`` for two exported files, but for the columns that name the pick.

    ``settings`` is section ``benchmark`` of the configuration, ``provider`` one of :data:`session.PROVIDERS`, and
    ``device`` ``cpu`` or ``cuda:N`` for it. Peak memory is measured on the CPU alone.

    Raises:
        LlamaNasError: a network cannot be loaded, or this ONNX Runtime has no such provider.
    """
    memory: dict[tuple[int, int], int] = {}
    if device == "cpu":  # before the networks are loaded, so that no more than two are in memory
        sizes = [(batch, context) for context in settings["contexts"] for batch in settings["batches"]]
        memory = {size: peak_memory(pick, *size, settings["new_tokens"], threads) for size in sizes}
    gpu = int(device.partition(":")[2] or 0)
    engines = OnnxEngine(pick, threads, provider, gpu), OnnxEngine(full, threads, provider, gpu)
    file_bytes = sum(file.stat().st_size for file in (pick, data_file(pick)) if file.exists())
    for row in speed_rows(*engines, settings, threads, seed, device):
        peak = memory.get((row["batch"], row["prompt_tokens"]))
        yield row | {"file_bytes": file_bytes, "peak_memory_bytes": peak}


def torch_rows(
    pick: tuple[Path, Architecture], full: Path, settings: dict, threads: int, seed: int, device: str, dtype: str
) -> Iterator[dict]:
    """The same in PyTorch, for a pick in a folder of weights and the full network in the super-network's folder.

    ``file_bytes`` are the weights'. Peak memory is not measured: both networks are in one process.

    Raises:
        LlamaNasError: weights missing or truncated.
    """
    config = read_config(full / "config.json")
    shape = shape_of(config)
    networks = []
    for folder, architecture in (pick, (full, shape.full)):
        tensors = SubnetTensors(WeightFile(folder / "model.safetensors"), architecture, shape)
        networks.append(TorchNetwork(config, tensors, device, dtype))
    for row in speed_rows(networks[0], networks[1], settings, threads, seed, device):
        yield row | {"file_bytes": networks[0].weight_bytes, "peak_memory_bytes": None}


def loader(
    folder: Path, runtime: str, scratch: Path, threads: int, device: str, dtype: str
) -> Callable[[Architecture], Engine]:
    """What loads a sub-network of the super-network in ``folder`` into a runtime, by its name in the configuration.

    A network for ONNX Runtime, in float32 on the CPU, is written to ``scratch``; each loaded one replaces the one
    before, but for the first.
    """
    config = read_config(folder / "config.json")

    def in_torch(architecture: Architecture) -> Engine:
        tensors = SubnetTensors(WeightFile(folder / "model.safetensors"), architecture, shape_of(config))
        return TorchNetwork(config, tensors, device, dtype)

    def in_onnx(architecture: Architecture) -> Engine:
        target = scratch / ("other" if (scratch / "first").exists() else "first")
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        write_onnx(folder, architecture, target)
        return OnnxEngine(target / "model.onnx", threads)

    return in_torch if runtime == "pytorch" else in_onnx
