"""What all rules share: folders, wildcards, and which jobs want a GPU."""

RESULTS = Path(config["results"])
LOGS = Path("logs")
GENERATIONS = config["search"]["generations"]
EXPORTED = ["full", *[pick for pick in config["export"]["picks"] if pick != "full"]]
GPU = int(config["compute"]["device"] != "cpu" and visible_gpus() > 0)
# How many generations follow, how many jobs measure them, and what else they write changes nothing in a generation.
SEARCH = {
    key: value
    for key, value in config["search"].items()
    if key not in ("chunks", "generations", "keep_answers")
}
SHARED = {"seed": config["seed"], "compute": config["compute"]}


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
    stage="model|finetune",


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


def network_of(wildcards):
    """ONNX file of a pick at a precision."""
    task = network_task(wildcards.task, wildcards.pick)
    return RESULTS / "onnx" / task / wildcards.pick / wildcards.precision / "model.onnx"
