"""The Parquet artifacts passed between rules: one schema per artifact name, checked on every read and write."""

import errno
import glob
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from llamanas.errors import LlamaNasError

SCHEMA_VERSION = 1
# Key of the file's metadata whose value is the SHA-256 of all the file's other bytes; two bytes stand between them.
CHECKSUM = b"llamanas_sha256"
CHECKED = b'"checksum": "sha256"'  # in the stamp of a file that has one, lest a damaged key pass for none
_CHECKSUM = re.compile(CHECKSUM + rb"..([0-9a-f]{64})", re.DOTALL)
_FULL_DISK = re.compile(r"No space left on device|\d+ requested and \d+ written|unexpected pos \d+ vs \d+")

_ARCHITECTURE = {
    "architecture": pa.string(),
    "kv_heads": pa.list_(pa.int32()),
    "intermediate_sizes": pa.list_(pa.int32()),
    "depth": pa.int32(),
    "parameters": pa.int64(),
    "bytes": pa.int64(),
    "macs_per_token": pa.int64(),
    "latency": pa.int64(),  # microseconds, summed from artifact `latency`; null where that is not measured
}
_CANDIDATE = _ARCHITECTURE | {"generation": pa.int32(), "origin": pa.string()}
_SEARCH = {"search_score": pa.float64(), "search_accuracy": pa.float64(), "n_search": pa.int32()}
_REPORT = {
    "report_accuracy": pa.float64(),
    "report_ci_low": pa.float64(),
    "report_ci_high": pa.float64(),
    "n_report": pa.int32(),
    "full_report_accuracy": pa.float64(),
    "full_report_ci_low": pa.float64(),
    "full_report_ci_high": pa.float64(),
    "difference": pa.float64(),
    "difference_ci_low": pa.float64(),
    "difference_ci_high": pa.float64(),
    "within_noise": pa.bool_(),
}
# What all measurements of a search together let expect of each network; it decides who is in the front.
_EXPECTED = _CANDIDATE | _SEARCH | {"expected_score": pa.float64()}
_FRONT = _EXPECTED | _REPORT
_EXPORTED = {"task": pa.string(), "pick": pa.string(), "precision": pa.string(), "architecture": pa.string()}

# One row per architecture and item.
_ANSWER = {
    "architecture": pa.string(),
    "item": pa.string(),
    "chosen": pa.int32(),
    "gold": pa.list_(pa.int32()),
    "credit": pa.float64(),  # 1 for a right answer, 0 for a wrong one; of a rolling text the share of right tokens
    "score": pa.float64(),
    "weight": pa.float64(),
    "loglikelihoods": pa.list_(pa.float64()),
}

# One training example; the loss counts on the answer only. A wrong choice is not labelled: it is distilled alone.
_EXAMPLE = {
    "source": pa.string(),
    "prompt": pa.list_(pa.int32()),
    "answer": pa.list_(pa.int32()),
    "labelled": pa.bool_(),
}

_COLUMNS: dict[str, dict[str, pa.DataType]] = {
    # file: path inside the model's folder
    "manifest": {"file": pa.string(), "bytes": pa.int64(), "sha256": pa.string()},
    # Every file of a finished run; file: path below the results
    "inventory": {"file": pa.string(), "bytes": pa.int64(), "sha256": pa.string()},
    # One item: a prefix that all choices share, then a branch per choice, scored on its last tokens. An item without
    # choices has one branch, a rolling one a branch per window of the text.
    "questions": {
        "item": pa.string(),
        "kind": pa.string(),  # lm-eval's output type: multiple_choice, loglikelihood or loglikelihood_rolling
        "split": pa.string(),  # train, search or report
        "source_split": pa.string(),
        "prefix": pa.list_(pa.int32()),
        "branches": pa.list_(pa.list_(pa.int32())),
        "scored": pa.list_(pa.int32()),
        "lengths": pa.list_(pa.int32()),  # characters of each choice, for acc_norm
        "gold": pa.list_(pa.int32()),
        "weight": pa.float64(),  # of the item in a mean: words of a rolling text, else 1
        "context_text": pa.string(),
        "choice_texts": pa.list_(pa.string()),
    },
    "instructions": _EXAMPLE,
    "written": _EXAMPLE,
    # kind attention: KL of the network with only `index` key-value heads left of one; mlp: of one with only `index`
    # channels; channel and kv_head: the score of that unit.
    "importance": {"layer": pa.int32(), "kind": pa.string(), "index": pa.int32(), "score": pa.float64()},
    # subnet: identifier of the architecture, or full.
    "losses": {
        "stage": pa.string(),  # finetune, train_supernet, heal or baseline
        "step": pa.int32(),
        "subnet": pa.string(),
        "loss": pa.float64(),
        "tokens": pa.int64(),
    },
    # One admissible choice of one layer, with what it costs.
    "space": {
        "layer": pa.int32(),
        "choice": pa.int32(),
        "kv_heads": pa.int32(),
        "intermediate_size": pa.int32(),
        "parameters": pa.int64(),
        "macs_per_token": pa.int64(),
    },
    # Microseconds that a part of a network adds to a prompt and its continuation: part fixed is what every network has,
    # attention one attention of so many key-value heads, mlp one MLP of this width.
    "latency": {
        "part": pa.string(),
        "size": pa.int32(),
        "microseconds": pa.int64(),
        "runtime": pa.string(),
        "hardware": pa.string(),
        "threads": pa.int32(),
    },
    # Networks from which the table was not made: their sum, and what they take as a whole.
    "latency_checks": _ARCHITECTURE | {"measured": pa.int64()},
    # Networks of another run that algorithm replay measures, with what they had there; from a table of all measured
    # ones no report_accuracy is known.
    "published": _ARCHITECTURE | {"search_score": pa.float64(), "report_accuracy": pa.float64()},
    "candidates": _CANDIDATE,
    "scores": {"architecture": pa.string()} | _SEARCH,
    "archive": _CANDIDATE | _SEARCH,
    "expected": _EXPECTED,
    # Of the candidates that racing left.
    "survivors": _CANDIDATE,
    "answers": _ANSWER,
    # Answers to the items on which racing decides.
    "heats": _ANSWER,
    "front": _FRONT,
    "picks": {"pick": pa.string()} | _FRONT,
    # A pick of the search for one task (searched), on the report split of another.
    "transfer": {
        "searched": pa.string(),
        "task": pa.string(),
        "pick": pa.string(),
        "architecture": pa.string(),
        "parameters": pa.int64(),
        "report_accuracy": pa.float64(),
        "report_ci_low": pa.float64(),
        "report_ci_high": pa.float64(),
        "n_report": pa.int32(),
        "difference": pa.float64(),  # from the full network
        "difference_ci_low": pa.float64(),
        "difference_ci_high": pa.float64(),
        "within_noise": pa.bool_(),
        "own_difference": pa.float64(),  # from this task's own pick of that name
        "own_difference_ci_low": pa.float64(),
        "own_difference_ci_high": pa.float64(),
    },
    # Accuracy of a pick on the report split with the super-network's weights, and with its own after healing.
    "healing": {
        "task": pa.string(),
        "pick": pa.string(),
        "architecture": pa.string(),
        "parameters": pa.int64(),
        "accuracy_before": pa.float64(),
        "before_ci_low": pa.float64(),
        "before_ci_high": pa.float64(),
        "accuracy_after": pa.float64(),
        "after_ci_low": pa.float64(),
        "after_ci_high": pa.float64(),
        "difference": pa.float64(),
        "difference_ci_low": pa.float64(),
        "difference_ci_high": pa.float64(),
        "full_difference": pa.float64(),  # of the healed pick from the full network
        "full_difference_ci_low": pa.float64(),
        "full_difference_ci_high": pa.float64(),
        "n": pa.int32(),
    },
    # A network pruned to a size by a published method and trained alone; seed: the experiment's.
    "baselines": {
        "task": pa.string(),
        "method": pa.string(),
        "seed": pa.int64(),
        "size_ratio": pa.float64(),  # parameters of the full network by its own
        "parameters": pa.int64(),
        "accuracy": pa.float64(),
        "ci_low": pa.float64(),
        "ci_high": pa.float64(),
        "n": pa.int32(),
        "training_tokens": pa.int64(),
    },
    "accuracy": _EXPORTED
    | {
        "metric": pa.string(),
        "accuracy": pa.float64(),
        "accuracy_ci_low": pa.float64(),
        "accuracy_ci_high": pa.float64(),
        "n": pa.int32(),
        "credit": pa.list_(pa.float64()),  # per item of the report split, in its order, for paired statistics
    },
    # One matrix product of an exported network, layer -1 for the head; kl_*: mean divergence from the float32 network
    # of the one in which this product alone is quantized so.
    "bits": {
        "product": pa.string(),
        "layer": pa.int32(),
        "part": pa.string(),
        "weights": pa.int64(),
        "kl_int8": pa.float64(),
        "kl_int4": pa.float64(),
        "kl_dynamic": pa.float64(),
    },
    # One input channel of a matrix product: what its values are divided by, and the weights that it meets multiplied.
    "scales": {
        "product": pa.string(),
        "channel": pa.int32(),
        "scale": pa.float64(),
    },
    # One row per runtime, batch size, prompt length and repeat; the full network of the same precision, or for the full
    # network itself that in fp32, is timed in turn with the pick. share_of_bandwidth: bytes that decoding must read per
    # second, of those that the memory gives.
    "speed": _EXPORTED
    | {
        "runtime": pa.string(),
        "hardware": pa.string(),
        "threads": pa.int32(),
        "batch": pa.int32(),
        "prompt_tokens": pa.int32(),
        "new_tokens": pa.int32(),
        "repeat": pa.int32(),
        "prefill_tokens_per_s": pa.float64(),
        "decode_tokens_per_s": pa.float64(),
        "time_to_first_token_s": pa.float64(),
        "full_prefill_tokens_per_s": pa.float64(),
        "full_decode_tokens_per_s": pa.float64(),
        "full_time_to_first_token_s": pa.float64(),
        "share_of_bandwidth": pa.float64(),
        "file_bytes": pa.int64(),
        "peak_memory_bytes": pa.int64(),  # null in PyTorch
    },
    "summary": {
        "task": pa.string(),
        "pick": pa.string(),
        "precision": pa.string(),
        "architecture": pa.string(),
        "parameters": pa.int64(),
        "file_bytes": pa.int64(),
        "size_ratio": pa.float64(),
        "size_ratio_fp32": pa.float64(),
        "accuracy": pa.float64(),
        "accuracy_ci_low": pa.float64(),
        "accuracy_ci_high": pa.float64(),
        "accuracy_full": pa.float64(),
        "accuracy_full_fp32": pa.float64(),
        "n": pa.int32(),
        "prefill_tokens_per_s": pa.float64(),
        "decode_tokens_per_s": pa.float64(),
        "full_prefill_tokens_per_s": pa.float64(),
        "full_decode_tokens_per_s": pa.float64(),
        "prefill_speedup": pa.float64(),
        "decode_speedup": pa.float64(),
        "prefill_speedup_fp32": pa.float64(),
        "decode_speedup_fp32": pa.float64(),
        "share_of_bandwidth": pa.float64(),
        "smaller_not_faster": pa.bool_(),
    },
    "resources": {  # one row for each job
        "rule": pa.string(),
        "job": pa.string(),  # its wildcards
        "node": pa.string(),
        "slurm_job": pa.string(),
        "gpu": pa.bool_(),
        "seconds": pa.float64(),
        "estimated_minutes": pa.int32(),  # the time limit that its first attempt asks for
        "memory_mb": pa.float64(),
        "slurm_memory_mb": pa.float64(),
        "estimated_memory_mb": pa.int32(),
        "gpu_memory_mb": pa.float64(),  # the most on one GPU
        "gpu_energy_j": pa.float64(),  # of all its GPUs
    },
}

SCHEMAS = {name: pa.schema(list(columns.items())) for name, columns in _COLUMNS.items()}


def table_of(name: str, rows: list[dict]) -> pa.Table:
    """The rows as a table of the artifact's schema; no rows give an empty table.

    Raises:
        LlamaNasError: a row lacks a column of the schema, or holds a value of another type.
    """
    for row in rows:
        if missing := SCHEMAS[name].names - row.keys():
            raise LlamaNasError(f"a row of artifact {name!r} lacks {sorted(missing)}")
    try:
        return pa.Table.from_pylist(rows, SCHEMAS[name])
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise LlamaNasError(f"rows do not fit the schema of artifact {name!r}: {error}") from error


def write_table(path: str | Path, name: str, table: pa.Table, provenance: dict) -> None:
    """Write the artifact, provenance in its metadata, to a temporary name and rename it, so that no half file remains.

    Raises:
        LlamaNasError: the table does not have the artifact's schema, or the disk is full.
    """
    expected = SCHEMAS[name]
    if not table.schema.equals(expected):
        raise LlamaNasError(f"table for artifact {name!r} has columns {table.schema.names}, expected {expected.names}")
    stamp = {"artifact": name, "schema_version": SCHEMA_VERSION, "checksum": "sha256"} | provenance
    table = table.replace_schema_metadata({"llamanas": json.dumps(stamp, sort_keys=True)})
    with whole_file(path) as temporary:
        with pq.ParquetWriter(temporary, table.schema, compression="zstd") as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({CHECKSUM: b"0" * 64})
        if checked := _checked(temporary.read_bytes()):
            with temporary.open("r+b") as file:
                file.seek(checked[1])
                file.write(checked[2])


def _checked(content: bytes) -> tuple[bytes, int, bytes] | None:
    """The checksum that a Parquet file holds, where it stands, and the right one; None for a file without any."""
    found = _CHECKSUM.match(content, max(content.rfind(CHECKSUM), 0))
    if found is None:
        return None
    rest = hashlib.sha256(content[: found.start(1)] + content[found.end(1) :]).hexdigest()
    return found[1], found.start(1), rest.encode()


def read_table(path: str | Path, name: str) -> pa.Table:
    """Read an artifact and check that it is what its name says.

    Raises:
        LlamaNasError: the file is missing, damaged, another artifact, or of another schema version.
    """
    with _readable(path):
        table = pq.read_table(pa.BufferReader(read_content(path)))
        stamp = provenance_of(table)
    if stamp.get("artifact") != name or stamp.get("schema_version") != SCHEMA_VERSION:
        raise LlamaNasError(
            f"{path} holds artifact {stamp.get('artifact')!r} in schema version {stamp.get('schema_version')}, "
            f"expected {name!r} in version {SCHEMA_VERSION}. Delete it and run the workflow again to make it anew."
        )
    table = table.replace_schema_metadata(None)
    if not table.schema.equals(SCHEMAS[name]):
        raise LlamaNasError(
            f"{path} has columns {table.schema.names}, expected {SCHEMAS[name].names} for {name!r}. It was made by "
            "another version of the workflow; delete it and run again to make it anew."
        )
    return table


def read_content(path: str | Path) -> bytes:
    """The bytes of a Parquet file, whose checksum holds if it has one.

    Raises:
        LlamaNasError: the file is missing or damaged.
    """
    with _readable(path):
        content = Path(path).read_bytes()
        checked = _checked(content)
        if checked[0] != checked[2] if checked else CHECKED in content:
            raise pa.ArrowInvalid("its checksum does not hold: these are not the bytes that were written")
        pq.read_metadata(pa.BufferReader(content))
        return content


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    """Say it in one sentence if the block cannot read a Parquet file.

    Raises:
        LlamaNasError: the file is missing or damaged.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise LlamaNasError(f"{path} is missing; run the workflow again to make it.") from error
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise LlamaNasError(
            f"{path} is not a readable Parquet file ({first_line(error)}). Delete it and run the workflow again to "
            "make it anew."
        ) from error


def provenance_of(table: pa.Table) -> dict:
    """The provenance stamp in a table's metadata, or an empty dict."""
    stamp = json.loads((table.schema.metadata or {}).get(b"llamanas", b"{}"))
    return stamp if isinstance(stamp, dict) else {}


def first_line(error: object) -> str:
    """What an exception of a library says, in one line of bearable length."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path``, renamed to it when the block succeeds and removed when it fails.

    What is renamed has reached the disk. No two processes share a temporary path; one that a killed process has left
    is removed by the next that writes the same file.

    Raises:
        LlamaNasError: no space is left on the device, or nothing may be written there.
    """
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{glob.escape(path.name)}.[0-9]*.part"):
            left.unlink(missing_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say it in one sentence if the block cannot write ``path``.

    Raises:
        LlamaNasError: no space is left on the device, or nothing may be written there.
    """
    try:
        yield
    except Exception as error:
        if is_full_disk(error):
            raise LlamaNasError(
                f"no space left on the device while writing {path}. Free some space and run the same command again; "
                "finished results are kept."
            ) from error
        if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise LlamaNasError(
                f"{path} cannot be written ({error.strerror}). Make its folder writable, or work elsewhere with "
                "--directory, and run the same command again."
            ) from error
        raise


def is_full_disk(error: Exception) -> bool:
    """Whether a writer failed for want of space; safetensors, ONNX, NumPy and torch report it in the text alone."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or bool(_FULL_DISK.search(str(error)))
