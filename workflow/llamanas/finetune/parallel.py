"""Training in several processes, a GPU each where there are any.

They are replicas that add up their gradients in each step, or divide weights, gradients and moments (`sharded.py`).
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from llamanas.devices import add_in_one_order
from llamanas.errors import LlamaNasError


@dataclass(frozen=True)
class Team:
    """The processes that train together, as one of them sees it."""

    rank: int = 0
    count: int = 1
    shards: bool = False  # whether each holds a part of the network, instead of all

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def add_up(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its sum over the processes, in place; all must give equally many."""
        if self.count > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)

    def agreed(self, value: Any) -> Any:
        """What the leading process gives, for all."""
        values = [value]
        if self.count > 1:
            dist.broadcast_object_list(values)
        return values[0]


def run_together(function: Callable[..., Any], devices: list[str], *arguments: Any) -> Any:
    """``function(device, team, *arguments)`` on every device, and what the leading process returns.

    Several processes are started by torchrun's launcher; the function and its arguments must be picklable.

    Raises:
        LlamaNasError: the function raised it in a process, or a process died.
    """
    if len(devices) == 1:
        return function(devices[0], Team(), *arguments)
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=len(devices), rdzv_backend="c10d", rdzv_endpoint="localhost:0",
        run_id="training", max_restarts=0, start_method="spawn", local_addr="localhost",
    )  # fmt: skip
    try:
        with _nameless_main():
            about = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
            results = elastic_launch(config, _member)(function, devices, *about, *arguments)
    except ChildFailedError as error:
        raise LlamaNasError(
            f"a process of the training died with exit code {error.get_first_failure()[1].exitcode}; its own words "
            "stand above. Run the same command again to go on from the last saved step."
        ) from error
    if isinstance(results[0], LlamaNasError):
        raise results[0]
    return results[0]


@contextmanager
def _nameless_main() -> Iterator[None]:
    """Hide the main module's file, which a new process would run again; under Snakemake it is a rule's script."""
    main = sys.modules["__main__"].__dict__
    file = main.pop("__file__", None)
    try:
        yield
    finally:
        if file is not None:
            main["__file__"] = file


def _member(function: Callable[..., Any], devices: list[str], threads: int, in_order: bool, *arguments: Any) -> Any:
    rank = int(os.environ["RANK"])
    torch.set_num_threads(max(threads // len(devices), 1))
    if in_order:
        add_in_one_order()
    if devices[rank] != "cpu":
        torch.cuda.set_device(devices[rank])
    dist.init_process_group("gloo" if devices[rank] == "cpu" else "nccl")
    try:
        return function(devices[rank], Team(rank, len(devices)), *arguments)
    except LlamaNasError as error:  # all processes raise the same one, or the leading one cannot write and others die
        if rank == 0:
            print(error, file=sys.stderr)
        return error
    finally:
        dist.destroy_process_group()
