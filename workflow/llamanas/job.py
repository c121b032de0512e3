"""What joins a Snakemake job to the package: log, checked tables, provenance, seeds, device, errors."""

import hashlib
import json
import os
import shutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from llamanas import artifacts, failures, provenance, randomness
from llamanas.architecture import Architecture, ModelShape
from llamanas.devices import PORTABLE, TIMED, add_in_one_order, leased_devices, processor
from llamanas.errors import LlamaNasError
from llamanas.meter import metered

# Change rounding at most.
HOW = ("device_tokens", "checkpointing", "checkpoint_steps", "compile", "processes", "shard")


class Job:
    """One job of the workflow, as its script sees it.

    Tables are named by the keyword of the rule's input or output, which is the artifact's name as well.
    """

    def __init__(self, snakemake: Any) -> None:
        self.snakemake = snakemake
        self.input, self.output, self.wildcards = snakemake.input, snakemake.output, snakemake.wildcards
        self.params: dict = dict(snakemake.params.items())
        self.seed_root: int = self.params["seed"]
        self._known: set[tuple[Path, bool]] = set()

    def path(self, name: str) -> Path:
        """Path of the output of this keyword, or else of the input."""
        return Path((self.output if name in self.output.keys() else self.input)[name])

    def source(self, name: str, weights: bool = True) -> Path:
        """Folder of a model that the input of this keyword lies in; its files are those that its manifest lists.

        Raises:
            LlamaNasError: a file is missing or damaged. Weights are looked at only if ``weights``.
        """
        folder = Path(self.input[name]).parent
        if (folder, weights) not in self._known:
            provenance.require_listed(folder, weights)
            self._known.add((folder, weights))
        return folder

    def rows(self, name: str) -> list[dict]:
        """Rows of the input table or tables of this keyword, schema checked; none where the rule has no such input."""
        paths = _as_list(self.input.get(name, []))
        return [row for path in paths for row in artifacts.read_table(path, name).to_pylist()]

    def by_task(self, name: str) -> dict[str, list[dict]]:
        """Rows of the input tables of this keyword by task; the rule lists them in the order of its ``tasks``."""
        paths = zip(self.params["tasks"], _as_list(self.input[name]), strict=True)
        return {task: artifacts.read_table(path, name).to_pylist() for task, path in paths}

    def write(self, name: str, rows: list[dict]) -> None:
        """Write the rows as the output table of this keyword, with the job's provenance."""
        artifacts.write_table(self.output[name], name, artifacts.table_of(name, rows), self.stamp)

    @cached_property
    def stamp(self) -> dict:
        """Provenance of the job's tables; into how many chunks a generation was divided is no part of it."""
        names = [name for name in self.input.keys() if name not in ("scores", "heats")]
        files = [path for name in names for path in _as_list(self.input[name])]
        return provenance.stamp(self.snakemake.rule, self.seed_root, self.params, files)

    @cached_property
    def resume(self) -> Path:
        """Folder in which this job may keep what an interrupted run has done.

        Its name depends on all that the result depends on, so that stale state is never taken up; it is no declared
        output, so that Snakemake leaves it alone, and it is removed when the job succeeds. How a training is computed
        is no part of it, so that one that ran out of memory goes on with smaller passes.
        """
        params = {name: _without(value, HOW) for name, value in self.params.items() if name not in HOW}
        about = json.dumps([self.stamp | {"params": params}, dict(self.wildcards.items())], sort_keys=True)
        return Path(self.output[0]).parent / ".resume" / hashlib.sha256(about.encode()).hexdigest()[:16]

    def architecture(self, shape: ModelShape) -> Architecture:
        """The architecture of the job's pick; without a table of picks it is the full network."""
        rows = {row["pick"]: row for row in self.rows("picks")}
        return Architecture.from_row(rows[self.wildcards.pick]) if rows else shape.full

    def exported(self, shape: ModelShape) -> dict:
        """Columns that say which exported file a row is about."""
        names = {name: self.wildcards[name] for name in ("task", "pick")}
        precision = self.wildcards.get("precision") or self.wildcards["gguf_type"]
        return names | {"precision": precision} | {"architecture": self.architecture(shape).id}

    @property
    def shard(self) -> bool | str:
        """Whether the processes of a training divide the network: what `compute.shard` says, if there are several."""
        return self.params.get("shard", False)

    def seed(self, *about: object) -> int:
        """A seed for one purpose of this stage."""
        return randomness.seed_for(self.seed_root, self.snakemake.rule, *about)

    @contextmanager
    def device(self) -> Iterator[str]:
        """The torch device to compute on; sets the number of CPU threads to the rule's."""
        with self._leased(1) as devices:
            yield devices[0]

    @contextmanager
    def devices(self) -> Iterator[list[str]]:
        """The torch devices of the processes that train together, as many as the rule's ``processes`` says."""
        with self._leased(self.params["processes"]) as devices:
            yield devices

    @contextmanager
    def _leased(self, count: int) -> Iterator[list[str]]:
        import torch

        torch.set_num_threads(self.snakemake.threads)
        with leased_devices(self.params["compute"]["device"], count) as devices:
            if self.params["compute"].get("deterministic"):
                add_in_one_order()
            if devices[0] != "cpu":
                torch.cuda.set_device(devices[0])  # where kernels are launched
            print(f"computing on {', '.join(devices)} with {self.snakemake.threads} threads", file=sys.stderr)
            kernels = "portable kernels" if PORTABLE.items() <= os.environ.items() else "its own kernels"
            print(f"processor {processor()}, {kernels}", file=sys.stderr)
            with metered(devices):
                yield devices


@contextmanager
def job(snakemake: Any) -> Iterator[Job]:
    """Run a script's body as a job: everything it or its libraries print goes to the rule's log.

    A LlamaNasError, a full disk included, ends the job with its message alone and status 1.
    """
    if not snakemake.rule.startswith("fetch_"):
        os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}  # read when these libraries are imported
    if snakemake.rule in TIMED and snakemake.params["compute"].get("portable"):
        for name in PORTABLE:
            os.environ.pop(name, None)
    log = Path(snakemake.log[0])
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", buffering=1) as stream, _redirected(stream.fileno()):
        print(failures.heading(snakemake.rule, dict(snakemake.wildcards.items())), file=sys.stderr, flush=True)
        try:
            run = Job(snakemake)
            yield run
            shutil.rmtree(run.resume, ignore_errors=True)
        except KeyboardInterrupt:
            print(f"{failures.MARK}interrupted", file=sys.stderr, flush=True)
            raise SystemExit(130) from None
        except Exception as error:
            if not isinstance(error, LlamaNasError) or os.environ.get("LLAMANAS_TRACEBACK"):
                traceback.print_exc()
            print(f"{failures.MARK}{failures.in_words(error)}", file=sys.stderr, flush=True)
            raise SystemExit(1) from error


def _without(value: Any, keys: tuple[str, ...]) -> Any:
    return {key: inner for key, inner in value.items() if key not in keys} if isinstance(value, dict) else value


@contextmanager
def _redirected(target: int) -> Iterator[None]:
    """Send standard output and error, at the level of file descriptors, to ``target``."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    os.dup2(target, 1)
    os.dup2(target, 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, original in zip((1, 2), saved, strict=True):
            os.dup2(original, descriptor)
            os.close(original)


def _as_list(files: Any) -> list[str]:
    return [str(files)] if isinstance(files, str | Path) else list(files)
