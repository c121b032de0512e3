"""The exported files as one chooses between them: size, speed, and accuracy against the full network's fp32 file."""

from statistics import median

from llamanas.randomness import generator
from llamanas.report import words
from llamanas.report.results import Results
from llamanas.report.summary import FULL, paired_ratio, speed_key, speed_rounds, timings
from llamanas.select.statistics import paired_difference


def exported_files(task: str, results: Results, summary: list[dict]) -> list[dict]:
    """Summary rows of a task with what they were measured by, and verdicts in words.

    Added are ``difference`` (accuracy minus that of the full network's fp32 file on the same questions) with the bounds
    ``difference_ci_low`` and ``difference_ci_high`` of its paired bootstrap interval, the ``prefill`` and ``decode``
    ratios of the rounds, ``hardware``, ``threads``, ``path`` and ``measured`` (the network and the table of
    its accuracy, below the results), ``warn`` and ``verdict``.
    """
    rounds = speed_rounds(results.speed)
    credits = {(row["task"], row["pick"], row["precision"]): row["credit"] for row in results.accuracy}
    select, seed = results.settings["select"], results.settings["seed"]
    files = []
    for row in summary:
        if row["task"] != task:
            continue
        key = task, row["pick"], row["precision"]
        timed = rounds[speed_key(key)]
        prefill, decode = (paired_ratio(timed, phase) for phase in ("prefill", "decode"))
        warn, verdict = words.speed_verdict(row, prefill, decode)
        draws = generator(seed, "report", "difference", *key)
        difference, low, high = paired_difference(
            credits[key], credits[task, FULL, "fp32"], select["confidence"], select["bootstrap"], draws
        )
        place = f"{'any' if row['pick'] == FULL else task}/{row['pick']}"
        files.append(
            row
            | {"difference": difference, "difference_ci_low": low, "difference_ci_high": high, "decode": decode}
            | {"prefill": prefill, "hardware": timed[0]["hardware"], "threads": timed[0]["threads"], "warn": warn}
            | {"verdict": verdict, "path": f"onnx/{place}/{row['precision']}/model.onnx"}
            | {"measured": f"benchmark/{task}/{row['pick']}/{row['precision']}/accuracy.parquet"}
        )
    return files


def further_timings(task: str, results: Results) -> list[dict]:
    """The files of a task in other runtimes, batch sizes and prompt lengths than :func:`exported_files` has.

    Columns ``pick``, ``precision``, what they were timed in, the ratios ``prefill`` and ``decode``, and the median
    ``decode_tokens_per_s`` beside that of what was timed in turn.
    """
    about = "pick", "precision", "runtime", "hardware", "batch", "prompt_tokens"
    rates = "decode_tokens_per_s", "full_decode_tokens_per_s"
    return [
        {name: rounds[0][name] for name in about}
        | {phase: paired_ratio(rounds, phase) for phase in ("prefill", "decode")}
        | {name: median(row[name] for row in rounds) for name in rates}
        for (searched, _, _), groups in timings(results.speed).items()
        if searched in (None, task)
        for rounds in groups[1:]
    ]


def recommended(files: list[dict]) -> dict:
    """The file that decodes fastest among those that are not measurably less accurate than the full network in fp32.

    The full network's fp32 file always is among them. Files within a tenth of the fastest are taken for equally fast,
    and the smallest of them is named.
    """
    passing = [file for file in files if file["difference_ci_high"] >= 0]
    fastest = max(file["decode_speedup_fp32"] for file in passing)
    near = [file for file in passing if file["decode_speedup_fp32"] >= 0.9 * fastest]
    return min(near, key=lambda file: (file["file_bytes"], file["pick"], file["precision"]))
