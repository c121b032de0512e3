"""What all rules share: folders, wildcards, and which jobs want a GPU."""

RESULTS = Path(config["results"])
LOGS = Path("logs")
GENERATIONS = config["search"]["generations"]
EXPORTED = ["full", *[pick for pick in config["export"]["picks"] if pick != "full"]]
GPU = int(config["compute"]["device"] != "cpu" and visible_gpus() > 0)
TRAINING_GPUS = GPU * config["compute"]["processes"]
# How many generations follow, how many jobs measure them, and what else they write changes nothing in a generation.
SEARCH = {
    key: value
    for key, value in config["search"].items()
    if key not in ("chunks", "generations", "keep_answers")
}
PROCESSES = config["compute"]["processes"]
# Of interest to trainings alone.
COMPUTE = {key: value for key, value in config["compute"].items() if key != "processes"}
SHARED = {"seed": config["seed"], "compute": COMPUTE}
HEALED = config["heal"]["steps"] > 0


def memory(factor, besides=0):
    """Memory in MB of a job that holds its input files this many times; grows with each attempt."""
    return lambda wildcards, input, attempt: int(
        attempt * (1500 + besides + factor * input.size_mb)
    )


# Hidden states that the candidates of an evaluation share.
SHARED_MB = 1024 * config["compute"]["shared_gb"]


wildcard_constraints:
    task="[A-Za-z0-9_.-]+",
    pick="[a-z][a-z0-9_]*",
    generation=r"\d+",
    precision="fp32|int8",
    gguf_type="F32|F16|Q8_0|Q6_K|Q5_K_M|Q4_K_M",
    stage="finetune|train_supernet",


def network_task(task, pick):
    """Folder of a pick: the full network is the same for all tasks and made once."""
    return "any" if pick == "full" else task


def earlier_archive(wildcards):
    """Archive of the generation before, or nothing for generation 0."""
    generation = int(wildcards.generation)
    if generation == 0:
        return []
    return (
        RESULTS
        / "search"
        / wildcards.task
        / f"generation-{generation - 1}"
        / "archive.parquet"
    )


def picks_of(wildcards):
    """The table a pick is looked up in; the full network needs none."""
    return (
        []
        if wildcards.pick == "full"
        else RESULTS / "search" / wildcards.task / "picks.parquet"
    )


def weights_of(wildcards):
    """Weights and manifest of a pick: the super-network's, or the pick's own where picks are healed."""
    folder = RESULTS / "supernet"
    if HEALED and wildcards.pick != "full":
        folder = RESULTS / "heal" / wildcards.task / wildcards.pick
    return {
        "weights": folder / "model.safetensors",
        "manifest": folder / "manifest.parquet",
    }


def network_of(wildcards):
    """ONNX file of a pick at a precision."""
    task = network_task(wildcards.task, wildcards.pick)
    return RESULTS / "onnx" / task / wildcards.pick / wildcards.precision / "model.onnx"
