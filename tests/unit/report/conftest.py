"""Synthetic tables of a finished experiment: known speeds and sizes, random accuracies."""

import random
from itertools import product

import pytest

from llamanas.architecture import Architecture, ModelShape
from llamanas.report.results import Results
from llamanas.report.write import draw_all
from llamanas.settings import complete

SHAPE = ModelShape("llama", 30, 576, 1536, 9, 3, 64, 49152, tied_head=True)
MALICIOUS = '<script>alert("x")</script>&$\\frac{1}{0}$'
N_REPORT = 300
# Megabytes of the full network's files, and of a pick's.
MEGABYTES = {(True, "fp32"): 540, (True, "int8"): 180, (False, "fp32"): 400, (False, "int8"): 120}


def random_architecture(draw: random.Random, keep: float) -> Architecture:
    """Each layer is dropped or loses its attention with a chance of ``1 - keep``."""
    heads, widths = [3], [draw.choice([512, 1024, 1536])]
    for _ in range(SHAPE.layers - 1):
        dropped = draw.random() > keep
        heads.append(3 * (not dropped and draw.random() < keep))
        widths.append(0 if dropped else draw.choice([512, 1024, 1536, 1536]))
    return Architecture(tuple(heads), tuple(widths))


def archive_row(architecture: Architecture, draw: random.Random) -> dict:
    """One measured network, whose score grows with its size."""
    share = architecture.parameters(SHAPE) / SHAPE.full.parameters(SHAPE)
    accuracy = 0.25 + 0.35 * share + draw.gauss(0, 0.02)
    row = architecture.row(SHAPE, 4) | {"generation": 0, "origin": "random"}
    return row | {"search_score": -2 + share + draw.gauss(0, 0.03), "search_accuracy": accuracy, "n_search": 160}


def reported(row: dict, full: dict) -> dict:
    """The row with columns of the report split; within noise if at most 3 points below the full network."""
    mine, reference = row["search_accuracy"], full["search_accuracy"]
    columns = {"n_report": N_REPORT, "difference": mine - reference, "within_noise": abs(mine - reference) < 0.03}
    columns |= {"difference_ci_low": mine - reference - 0.03, "difference_ci_high": mine - reference + 0.03}
    for prefix, accuracy in (("report", mine), ("full_report", reference)):
        columns |= {f"{prefix}_accuracy": accuracy}
        columns |= {f"{prefix}_ci_low": accuracy - 0.05, f"{prefix}_ci_high": accuracy + 0.05}
    return row | {"expected_score": row["search_score"] - 0.01} | columns


def search_tables(task: str) -> tuple[list[dict], list[dict], list[dict]]:
    """Archive, front and picks of a task."""
    draw = random.Random(task)
    full = archive_row(SHAPE.full, draw) | {"origin": "full"}
    archive = [full]
    archive += [archive_row(random_architecture(draw, draw.uniform(0.75, 1)), draw) for _ in range(31)]
    front: list[dict] = []
    for row in sorted(archive, key=lambda row: row["parameters"]):
        if not front or row["search_score"] > front[-1]["search_score"]:
            front.append(row)
    front = [reported(row, full) for row in front]
    chosen = {"full": reported(full, full), "knee": front[len(front) // 2], "half_way": front[len(front) // 2]}
    chosen["smallest_within_1pt"] = front[-2]
    return archive, front, [{"pick": name} | row for name, row in chosen.items()]


def exported(task: str, pick: str, precision: str, architecture: str) -> dict:
    return {"task": task, "pick": pick, "precision": precision, "architecture": architecture}


def speed_rows(task: str, pick: str, precision: str, architecture: str) -> list[dict]:
    """Five rounds: a pick prefills 1.5 times as fast as the full network and decodes between 0.9 and 1.1 times.

    The full network itself is timed in turn with that in fp32.
    """
    rates = {"fp32": 50.0, "int8": 80.0}
    full_decode, reference = rates[precision], rates["fp32" if pick == "full" else precision]
    rows = []
    for repeat, jitter in enumerate((0.9, 0.95, 1.02, 1.05, 1.1)):
        prefill, decode = (1.0, 1.0) if pick == "full" else (1.5, jitter)
        rows.append(
            exported(task, pick, precision, architecture)
            | {"runtime": "onnxruntime 1.24", "hardware": "a CPU", "threads": 2, "new_tokens": 16}
            | {"batch": 1, "prompt_tokens": 128, "share_of_bandwidth": 0.5}
            | {"repeat": repeat, "file_bytes": MEGABYTES[pick == "full", precision] * 10**6, "peak_memory_bytes": 10**9}
            | {"prefill_tokens_per_s": 900 * prefill * jitter, "full_prefill_tokens_per_s": 900 * jitter}
            | {"decode_tokens_per_s": full_decode * decode, "full_decode_tokens_per_s": reference}
            | {"time_to_first_token_s": 0.1, "full_time_to_first_token_s": 0.15}
        )
    return rows


def accuracy_row(task: str, pick: str, precision: str, architecture: str) -> dict:
    correct = [i % 2 == 0 or (pick == "full" and i % 10 == 1) for i in range(N_REPORT)]
    accuracy = sum(correct) / N_REPORT
    row = exported(task, pick, precision, architecture) | {"metric": "acc", "accuracy": accuracy, "n": N_REPORT}
    return row | {
        "accuracy_ci_low": accuracy - 0.05,
        "accuracy_ci_high": accuracy + 0.05,
        "credit": list(map(float, correct)),
    }


def losses() -> list[dict]:
    draw = random.Random(0)
    rows = []
    for step in range(48):
        full, sub_network = ("full", 2 + 3 / (step + 1)), (f"{step:012x}", 1 + 4 / (step + 1))
        for stage, (subnet, loss) in (("finetune", full), ("train_supernet", full), ("train_supernet", sub_network)):
            row = {"stage": stage, "step": step, "subnet": subnet, "tokens": 400}
            rows.append(row | {"loss": loss + draw.gauss(0, 0.1)})
    return rows


def importance() -> list[dict]:
    draw = random.Random(1)
    rows = []
    for layer in range(SHAPE.layers):
        for kind, index, scale in (("attention", 0, 0.05), ("mlp", 0, 0.1), ("mlp", 512, 0.03), ("mlp", 1024, 0.01)):
            rows.append({"layer": layer, "kind": kind, "index": index, "score": scale * draw.gammavariate(1, 1)})
        rows.append({"layer": layer, "kind": "channel", "index": 0, "score": 123.0})
    return rows


def experiment(tasks: list[str]) -> Results:
    """All tables of an experiment that exported pick ``half_way`` besides the full network."""
    searched = {task: search_tables(task) for task in tasks}
    settings = complete({"tasks": ["placeholder"]}) | {"tasks": tasks}
    files = list(product(tasks, ("full", "half_way"), ("fp32", "int8")))
    ids = {(task, row["pick"]): row["architecture"] for task, (_, _, picks) in searched.items() for row in picks}
    speed = [row for precision in ("fp32", "int8") for row in speed_rows("any", "full", precision, SHAPE.full.id)]
    for task, pick, precision in files:
        if pick != "full":
            speed += speed_rows(task, pick, precision, ids[task, pick])
    return Results(
        shape=SHAPE,
        settings=settings,
        archives={task: tables[0] for task, tables in searched.items()},
        fronts={task: tables[1] for task, tables in searched.items()},
        picks={task: tables[2] for task, tables in searched.items()},
        accuracy=[accuracy_row(*file, ids[file[:2]]) for file in files],
        speed=speed,
        losses=losses(),
        healing=[],
        importance=importance(),
        manifests={"the super-network": [{"file": "model.safetensors", "bytes": 538_090_408, "sha256": "a" * 64}]},
        packages={"torch": "2.13.0", "onnxruntime": "1.24.1"},
        space_size=123_456_789_012_345,
        usage=[
            {
                "rule": "finetune",
                "jobs": 1,
                "seconds": 1234.5,
                "longest_minutes": 20.6,
                "estimated_minutes": 35,
                "memory_mb": 3456.7,
                "estimated_memory_mb": 5432,
            }
        ],  # fmt: skip
    )


@pytest.fixture(scope="session")
def results() -> Results:
    return experiment(["mini_commonsense", "mini_truthful"])


@pytest.fixture(scope="session")
def figures(results: Results) -> dict[str, dict[str, str]]:
    return draw_all(results)


@pytest.fixture(scope="session")
def malicious() -> Results:
    """A task whose name would run as a script, or as mathematics, if it were not escaped."""
    return experiment([MALICIOUS])
