"""The summary table: size, accuracy and speed of each exported network, each against the full network."""

from collections import defaultdict
from statistics import median
from typing import Any, NamedTuple

from llamanas.architecture import ModelShape
from llamanas.errors import LlamaNasError

FULL = "full"
_PHASES = ("prefill", "decode")

Key = tuple[str, str, str]


class Ratio(NamedTuple):
    """A speed as a multiple of the full network's, over the rounds in which both were timed in turn."""

    median: float
    low: float
    high: float
    rounds: int


def summarize(picks: dict[str, list[dict]], accuracy: list[dict], speed: list[dict], shape: ModelShape) -> list[dict]:
    """Rows of artifact ``summary``: one per row of ``accuracy``, in its order.

    Each network is compared with the full network twice: at the same precision, and (``*_fp32``) in fp32.

    * ``size_ratio``: bytes of the full network's file divided by the bytes of this one; above 1 is smaller.
    * ``accuracy_full``: the full network's accuracy on the same items of the same task.
    * ``prefill_speedup``, ``decode_speedup``: median over the rounds of the ratio to the full network of the same
      precision, which was timed in turn with this one in one process; 1 for the full network itself.
    * ``prefill_speedup_fp32``, ``decode_speedup_fp32``: the same ratio, times that of the full network of the same
      precision to the fp32 one, which were timed in turn as well: no ratio is of medians of separate jobs, between
      which the machine drifts.
    * ``*_tokens_per_s`` are medians over the rounds, ``full_*_tokens_per_s`` those of what was timed in turn.
    * ``share_of_bandwidth``: bytes that decoding must read in a second, of those that the memory was measured to give.
    * ``smaller_not_faster``: the file is smaller than the full network's, and some round found it no faster.

    Args:
        picks: rows of artifact ``picks`` of each task, which know the number of parameters.
        accuracy: rows of all exported files, the full network's once per task.
        speed: rows of all exported files; those of pick ``full`` hold for all tasks, whatever task they name.
        shape: sizes of the full network.

    Raises:
        LlamaNasError: a file's speed, the full network's accuracy, or a pick is missing.
    """
    scores = {(row["task"], row["pick"], row["precision"]): row for row in accuracy}
    if len(scores) < len(accuracy):
        raise LlamaNasError("the accuracy of an exported network is given twice. Delete its table and run again.")
    rounds = speed_rounds(speed)
    parameters = {(task, row["pick"]): row["parameters"] for task, rows in picks.items() for row in rows}
    parameters |= {(task, FULL): shape.full.parameters(shape) for task in picks}
    return [_summary_row(key, scores, rounds, parameters) for key in scores]


def timings(speed: list[dict]) -> dict[tuple[str | None, str, str], list[list[dict]]]:
    """The rounds of each file by :func:`speed_key`: a list for each runtime, batch size and prompt length."""
    rounds: dict[tuple[str | None, str, str], dict[tuple, list[dict]]] = defaultdict(lambda: defaultdict(list))
    for row in speed:
        key = speed_key((row["task"], row["pick"], row["precision"]))
        rounds[key][row["runtime"], row["batch"], row["prompt_tokens"]].append(row)
    return {key: list(groups.values()) for key, groups in rounds.items()}


def speed_rounds(speed: list[dict]) -> dict[tuple[str | None, str, str], list[dict]]:
    """The rounds of each file by :func:`speed_key`, in the runtime, batch size and prompt length that it has first."""
    return {key: groups[0] for key, groups in timings(speed).items()}


def speed_key(key: Key) -> tuple[str | None, str, str]:
    """Which speed measurement belongs to (task, pick, precision): the full network is one file for all tasks."""
    task, pick, precision = key
    return None if pick == FULL else task, pick, precision


def paired_ratio(rounds: list[dict], phase: str) -> Ratio:
    """Speed in ``prefill`` or ``decode`` against the full network of the same precision, round by round."""
    ratios = [row[f"{phase}_tokens_per_s"] / row[f"full_{phase}_tokens_per_s"] for row in rounds]
    return Ratio(median(ratios), min(ratios), max(ratios), len(ratios))


def _summary_row(key: Key, scores: dict[Key, dict], rounds: dict, parameters: dict[tuple[str, str], int]) -> dict:
    task, pick, precision = key
    score, full, full_fp32 = scores[key], (task, FULL, precision), (task, FULL, "fp32")
    timed, timed_full, timed_fp32 = (_found(rounds, speed_key(which), "speed") for which in (key, full, full_fp32))
    file_bytes = timed[0]["file_bytes"]
    row = {name: score[name] for name in ("task", "pick", "precision", "architecture", "accuracy", "n")}
    row |= {
        "parameters": _found(parameters, (task, pick), "row of picks"),
        "file_bytes": file_bytes,
        "size_ratio": timed_full[0]["file_bytes"] / file_bytes,
        "size_ratio_fp32": timed_fp32[0]["file_bytes"] / file_bytes,
        "accuracy_ci_low": score["accuracy_ci_low"],
        "accuracy_ci_high": score["accuracy_ci_high"],
        "accuracy_full": _found(scores, full, "accuracy")["accuracy"],
        "accuracy_full_fp32": _found(scores, full_fp32, "accuracy")["accuracy"],
    }
    for phase in _PHASES:
        column = f"{phase}_tokens_per_s"
        own = 1.0 if pick == FULL else paired_ratio(timed, phase).median
        row |= {name: median(each[name] for each in timed) for name in (column, f"full_{column}")}
        from_fp32 = 1.0 if precision == "fp32" else paired_ratio(timed_full, phase).median
        row |= {f"{phase}_speedup": own, f"{phase}_speedup_fp32": own * from_fp32}
    slowest = min(paired_ratio(timed, phase).low for phase in _PHASES)
    return row | {
        "share_of_bandwidth": median(each["share_of_bandwidth"] for each in timed),
        "smaller_not_faster": pick != FULL and row["size_ratio"] > 1 and slowest <= 1,
    }


def _found(table: dict, key: tuple, what: str) -> Any:
    if key not in table:
        about = " / ".join(str(part) for part in key if part is not None)
        raise LlamaNasError(
            f"the report needs the {what} of {about}, which is not among the results. Make sure that export.precisions "
            "has fp32 and that the benchmarks of this run are complete, then run again."
        )
    return table[key]
