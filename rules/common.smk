"""What all rules share: folders, wildcards, and which jobs want a GPU."""

RESULTS = Path(config["results"])
LOGS = Path("logs")
GENERATIONS = config["search"]["generations"]
EXPORTED = ["full", *[pick for pick in config["export"]["picks"] if pick != "full"]]
# How many generations follow, how many jobs measure them, and what else they write changes nothing in a generation.
SEARCH = {
    key: value
    for key, value in config["search"].items()
    if key not in ("chunks", "generations", "keep_answers", "replay")
}
REPLAYS = SEARCH["algorithm"] == "replay"
# Latencies are measured only where the search asks for them.
LATENCY = (
    "latency" in (SEARCH["objective"], SEARCH["second_objective"])
    or SEARCH["limits"]["latency"] is not None
)
if not LATENCY:
    SEARCH = {key: value for key, value in SEARCH.items() if key != "latency"}
PROCESSES = config["compute"]["processes"]


def given(resources, name):
    """A number that the command line or a profile gives among its resources, or None."""
    value = (resources or {}).get(name)
    return getattr(value, "value", value)


# Whether a cluster has GPUs its profile must say; on one machine one can look.
CLUSTER_GPUS = given(workflow.resource_settings.default_resources, "cluster_gpus")
GPU = int(
    config["compute"]["device"] != "cpu"
    and (visible_gpus() if CLUSTER_GPUS is None else CLUSTER_GPUS) > 0
)
if workflow.is_main_process:
    try:
        if CLUSTER_GPUS is None:
            check_gpus(
                given(workflow.resource_settings.resources, "gpu"),
                GPU * PROCESSES,
                visible_gpus(),
            )
        check_runtimes(config["benchmark"]["runtimes"], bool(GPU))
    except LlamaNasError as error:
        raise WorkflowError(str(error)) from None
TRAINING_GPUS = GPU * PROCESSES
MODEL = known_model(config)
# On a GPU the kernels of the CPU decide nothing, and on other machines than those of PORTABLE there is no choice.
PORTABLE = config["compute"]["portable"] and not GPU
if PORTABLE:
    os.environ.update(portable_kernels())  # jobs inherit it
# What is new and off is left out, so that it makes no earlier result anew.
COMPUTE = {
    key: value
    for key, value in (config["compute"] | {"portable": PORTABLE}).items()
    if key not in ("processes", "shard")
    and (value or key not in ("deterministic", "portable"))
}
# Of interest to trainings alone; one process has nothing to divide.
TOGETHER = {"processes": PROCESSES}
if PROCESSES > 1:
    TOGETHER["shard"] = config["compute"]["shard"]
# Whether a task's file may run code says something of the items only where it may.
DATA = {
    key: value for key, value in config["data"].items() if key != "task_code" or value
}
SHARED = {"seed": config["seed"], "compute": COMPUTE}
RECIPES = config["quantize"]["recipes"]
HEALED = config["heal"]["steps"] > 0


def model_when(input):
    """The model's sizes, once they are known."""
    if MODEL:
        return MODEL
    input.size_mb  # fails before the model is fetched, upon which Snakemake asks again later
    return known_model(config)


def memory(stage):
    """Memory in MB of a job of this rule, estimated from the model and the configuration."""
    return lambda wildcards, input, attempt: memory_mb(
        stage, config, model_when(input), GPU, attempt
    )


def runtime(stage):
    """Time limit in minutes of a job of this rule."""
    return lambda wildcards, input, attempt: runtime_minutes(
        stage, config, model_when(input), GPU, attempt
    )


wildcard_constraints:
    task="[A-Za-z0-9_.-]+",
    pick="[a-z][a-z0-9_]*",
    generation=r"\d+",
    precision="|".join([FLOAT, *RECIPES]),
    recipe="|".join(RECIPES),
    variant="padded|deci",
    gguf_type="F32|F16|Q8_0|Q6_K|Q5_K_M|Q4_K_M",
    stage="finetune|train_supernet",


def network_task(task, pick):
    """Folder of a pick: the full network is the same for all tasks and made once."""
    return "any" if pick == "full" else task


def earlier(name, wildcards):
    """A table of the generation before, as a list; none for generation 0."""
    generation = int(wildcards.generation)
    folder = RESULTS / "search" / wildcards.task / f"generation-{generation - 1}"
    return [folder / f"{name}.parquet"] if generation > 0 else []


def earlier_archive(wildcards):
    """Archive of the generation before, or nothing for generation 0."""
    return earlier("archive", wildcards)


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


def healing_of(wildcards):
    """What training alone changed in a pick, where picks are trained alone."""
    healed = HEALED and wildcards.pick != "full"
    folder = RESULTS / "heal" / wildcards.task / wildcards.pick
    return [folder / "healing.parquet"] if healed else []


def network_of(wildcards):
    """ONNX file of a pick at a precision."""
    task = network_task(wildcards.task, wildcards.pick)
    return RESULTS / "onnx" / task / wildcards.pick / wildcards.precision / "model.onnx"


def manifest_of(wildcards):
    """Hashes of the files that network_of stands for."""
    return network_of(wildcards).parent / "manifest.parquet"


def reference_of(wildcards):
    """ONNX file of the full network that is timed in turn: at the same precision, the full network itself in fp32."""
    precision = "fp32" if wildcards.pick == "full" else wildcards.precision
    return RESULTS / "onnx/any/full" / precision / "model.onnx"


def gguf_of(wildcards):
    """Folder of a pick's GGUF file."""
    task = network_task(wildcards.task, wildcards.pick)
    return RESULTS / "gguf" / task / wildcards.pick / wildcards.gguf_type


def bits_of(wildcards):
    """Sensitivities of a pick's products, where the recipe's method needs them."""
    folder = RESULTS / "onnx" / wildcards.task / wildcards.pick
    needed = RECIPES[wildcards.recipe]["method"] in MEASURED
    return {"bits": folder / "bits.parquet"} if needed else {}


def scales_of(wildcards):
    """Scales of a pick's products, where the recipe equalizes."""
    folder = RESULTS / "onnx" / wildcards.task / wildcards.pick
    needed = RECIPES[wildcards.recipe].get("equalize", False)
    return {"scales": folder / "scales.parquet"} if needed else {}


def torch_weights_of(wildcards):
    """Weights of a pick that are timed in PyTorch as well: once, beside the fp32 file."""
    wanted = "pytorch" in config["benchmark"]["runtimes"]
    return weights_of(wildcards) if wanted and wildcards.precision == "fp32" else {}


def timing_gpus(wildcards):
    """GPUs of a job that times a file: PyTorch's runs beside the fp32 file alone."""
    runtimes = {*config["benchmark"]["runtimes"]}
    in_torch = "pytorch" in runtimes and wildcards.precision == FLOAT
    return GPU * bool(ONNX_ON_GPU.keys() & runtimes or in_torch)


CAPTIONS = "../workflow/report"


def made_baselines(wildcards):
    """The baselines, if `snakemake baselines` has made them; the report alone does not train any."""
    path = RESULTS / "baselines.parquet"
    return path if path.exists() else RESULTS / "baselines/references.parquet"


def described(path, kind, category, **labels):
    """An output with what `snakemake --report` says of it."""
    return report(
        path, caption=f"{CAPTIONS}/{kind}.rst", category=category, labels=labels
    )


def drawings(kind, category, what):
    """A figure of each task."""
    folder = RESULTS / "report" / kind
    names = {task: folder / f"{task}.svg" for task in config["tasks"]}
    return [
        described(path, kind, category, task=task, what=what)
        for task, path in names.items()
    ]
