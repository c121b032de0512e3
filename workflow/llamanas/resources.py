"""What each rule needs: arithmetic, memory and disk, from the model's sizes and the configuration.

Imported while Snakemake parses, so it needs the standard library alone. Rules ask :func:`memory_mb` and
:func:`runtime_minutes`; `python -m llamanas.estimate` combines the same needs with what a machine was measured to do.
"""

from dataclasses import dataclass
from math import ceil
from pathlib import Path

from llamanas.architecture import ModelShape
from llamanas.devices import ONNX_ON_GPU
from llamanas.errors import LlamaNasError
from llamanas.models.families import bytes_per_parameter, read_config, shape_of
from llamanas.settings import existing

MB = 2**20
BASE_MB = 1500  # Python with its libraries, 0.5 GB, and the two Snakemakes that start inside a SLURM job, 0.3 GB
CUDA_MB = 3000  # host memory that a process with a GPU takes besides
MARGIN = 1.3
LOGITS = 8 * 2**26  # the loss has a chunk of logits (finetune/losses.py) in several forms at once
ITEMS = 2000  # assumed where a task's items are not limited
ITEM_TOKENS = 64  # assumed of an item with its choices, worked examples apart
FRONT = 30  # assumed members of a front, if so many are measured
SHARE = 0.6  # arithmetic of candidates by that of full networks one by one: they are smaller and share layers
# A slow node, so that few jobs meet their time limit: operations per second of a CPU thread and of a GPU, bytes per
# second of a shared file system. How long a job really takes is measured by `python -m llamanas.estimate`.
SLOW_THREAD, SLOW_GPU, SLOW_DISK = 30e9, 10e12, 100e6
MINUTES = 15  # that every job may take at least
TRAININGS = {"finetune": "finetune", "train_supernet": "supernet", "heal": "heal", "train_baseline": "baselines"}
LARGE = 10**9  # parameters from which method `auto` trains adapters, as in finetune/train.py
AT_ONCE = 32768  # tokens of all networks of a step that pass at once on a CPU


@dataclass(frozen=True)
class Model:
    """Sizes of the full network: parameters, multiply-accumulates of a token, and the values that a token leaves.

    ``fixed`` counts the parameters outside of the layers. ``kept`` are the values that a training pass keeps of a token
    for its backward pass, ``adapted`` the inputs and outputs of a layer's linear maps, which a rank of adapters costs.
    """

    parameters: int
    fixed: int
    macs: int
    layers: int
    hidden: int
    kept: int
    adapted: int

    @classmethod
    def of_shape(cls, shape: ModelShape) -> "Model":
        """The sizes of a known network."""
        h, i, q, kv = shape.hidden_size, shape.intermediate_size, shape.query_size, shape.kv_size
        per_token = shape.layers * (8 * h + 3 * q + 4 * i)
        adapted = shape.layers * (3 * (h + i) + 2 * (h + q) + 2 * (h + kv))
        full = shape.full
        sizes = full.parameters(shape), shape.fixed_parameters, full.macs_per_token(shape)
        return cls(*sizes, shape.layers, h, per_token, adapted)


@dataclass(frozen=True)
class Need:
    """What a job needs: floating-point operations, bytes of memory where it computes, bytes of weights on the host.

    ``memory`` is the host's too where there is no GPU; ``files`` are bytes that are read and written, ``kept`` those
    of them that stay on disk.
    """

    operations: float = 0
    memory: float = 0
    host: float = 0
    files: float = 0
    kept: float = 0


def known_model(config: dict) -> Model | None:
    """The configured model where its sizes are known before it is fetched, or because it has been."""
    places = [Path(config["results"]) / "model/config.json"]
    if folder := config["model"]["source"].get("folder"):
        places.append(existing(folder) / "config.json")
    for place in places:
        try:
            return Model.of_shape(shape_of(read_config(place)))
        except LlamaNasError:
            continue  # fetch_model says what is wrong with it
    return None


@dataclass(frozen=True)
class Items:
    """How many items of a task the search and the report have, and tokens of one item with its choices."""

    search: int
    report: int
    tokens: int

    @classmethod
    def assumed(cls, config: dict) -> "Items":
        """What the configuration says, and a guess where it leaves that open."""
        data = config["data"]
        search, report = (ITEMS if data[f"{split}_items"] is None else data[f"{split}_items"] for split in _SPLITS)
        return cls(search, report, ITEM_TOKENS * (1 + (data["few_shot"] or 0)))


_SPLITS = ("search", "report")


def need(rule: str, config: dict, model: Model, items: Items | None = None) -> Need:
    """What one job of this rule needs."""
    items = items or Items.assumed(config)
    weights = 4 * model.parameters  # as trainings and the super-network are written, in float32
    stored = model.parameters * bytes_per_parameter({"dtype": "float32"}, config["model"]["dtype"])
    computed = model.parameters * (2 if config["compute"]["dtype"] == "bfloat16" else 4)
    if rule in TRAININGS:
        return _training(rule, config, model, weights, stored)
    if rule in MEASURED:
        tokens = MEASURED[rule](config, items)
        shared = config["compute"]["shared_gb"] * 1024 * MB
        batch = (config["compute"]["batch_tokens"] or 512) * model.kept / model.layers * 4
        copies = 2 if rule in ("measure_references", "measure_healing") else 1
        return Need(2 * model.macs * tokens, copies * computed + shared + batch, copies * stored, copies * weights)
    if rule == "rank_importance":
        tokens = config["importance"]["calibration_tokens"]
        changes = model.layers * (2 + narrower(config["space"]))
        states = tokens * (model.layers * model.hidden + 2 * model.kept / model.layers) * 4
        return Need(model.macs * tokens * changes, 1.6 * weights + states, stored, weights)
    if rule == "equalize":
        return Need(2 * model.macs * config["quantize"]["calibration_tokens"], 1.7 * weights, stored, weights)
    if rule == "measure_bits":
        tokens = config["quantize"]["calibration_tokens"]
        products = 7 * model.layers + 1
        states = tokens * model.layers * model.hidden * 4
        return Need(2 * model.macs * tokens * products * 3 / 2, 2 * weights + states, stored, weights)
    if rule == "write_examples":
        about = config["instructions"]
        return Need(2 * model.macs * about["self_examples"] * about["max_tokens"], 1.5 * computed, stored, stored)
    if rule in FILES:
        memory, files, kept = FILES[rule]
        return Need(0, memory * weights, 0, files * weights, kept * (stored if rule in NARROW else weights))
    if rule in ("benchmark_accuracy", "benchmark_gguf_accuracy"):
        return Need(2 * model.macs * items.report * items.tokens, 1.5 * weights, 0, weights)
    if rule == "benchmark_speed":
        about = config["benchmark"]
        texts = sum(
            batch * (context + about["new_tokens"]) for batch in about["batches"] for context in about["contexts"]
        )
        tokens = about["repeats"] * 2 * texts
        cuda = CUDA_MB * MB * bool({"pytorch", *ONNX_ON_GPU} & {*about["runtimes"]})
        # Two networks, both full at most: 2.0 times the weights and 0.7 GB were measured, which MARGIN brings this to,
        # and the array that the memory's rate is measured with.
        return Need(2 * model.macs * tokens, 1.7 * weights + 1024 * MB + cuda, 0, 2 * weights)
    if rule == "measure_latency":
        about = config["search"]["latency"]
        networks = 2 * about["networks"] + narrower(config["space"]) + 4
        tokens = about["batch"] * (about["prompt_tokens"] + about["new_tokens"]) * about["repeats"] * 2 * networks
        return Need(2 * model.macs * tokens, 6 * weights, 0, 2 * networks * weights)
    return Need()  # tables alone


# Rules that move weights: how often these are in memory in float32, pass through files, and stay on disk. Memory counts
# the pages of mapped files and covers what was seen with 1.3e9 parameters (docs/performance.md).
FILES = {
    "fetch_model": (1.6, 2, 1),
    "build_supernet": (1.7, 2, 1),
    "extract_subnet": (1.6, 2, 1),
    "extract_variant": (1.6, 2, 1),
    "export_onnx": (1.2, 3, 1),
    "quantize": (1.5, 1.5, 0.3),
    "export_gguf": (1.2, 2, 1),
}
NARROW = ("fetch_model", "extract_subnet", "extract_variant", "export_gguf")  # those that write the model's own type


def narrower(space: dict) -> int:
    """How many sizes besides the full ones section ``space`` of the config lets an attention or an MLP have."""
    return len(space["intermediate_sizes"]) + len(space["kv_heads"])


def _chunk_tokens(config: dict, items: Items) -> float:
    return SHARE * ceil(config["search"]["population"] / config["search"]["chunks"]) * items.search * items.tokens


def _front_tokens(config: dict, items: Items) -> float:
    measured = config["search"]["population"] * (1 + config["search"]["generations"])
    reported = measured if config["search"]["algorithm"] == "replay" else min(FRONT, measured)
    return SHARE * reported * items.report * items.tokens


def _transfer_tokens(config: dict, items: Items) -> float:
    networks = 1 + len(config["tasks"]) * len(config["select"]["picks"])
    return SHARE * networks * items.report * items.tokens


def _reference_tokens(config: dict, items: Items) -> float:
    return (3 + len(config["baselines"]["ratios"])) * len(config["tasks"]) * items.report * items.tokens


# Rules that measure sub-networks: tokens that pass through a full network, or would take as long.
MEASURED = {
    "evaluate_chunk": _chunk_tokens,
    "evaluate_heat": lambda config, items: config["search"]["racing_items"] * _chunk_tokens(config, items),
    "evaluate_front": _front_tokens,
    "evaluate_transfer": _transfer_tokens,
    "measure_healing": lambda config, items: 2 * items.report * items.tokens,
    "measure_references": _reference_tokens,
}


def uses_gpu(rule: str) -> bool:
    """Whether the jobs of a rule compute on a GPU where there is one."""
    return (
        rule in TRAININGS
        or rule in MEASURED
        or rule in ("rank_importance", "write_examples", "equalize", "measure_bits")
    )


def _training(rule: str, config: dict, model: Model, weights: int, stored: int) -> Need:
    """A training: gradients and both moments of Adam of what is trained, activations, a chunk's logits, a teacher."""
    settings = config[TRAININGS[rule]]
    lora = settings["method"] == "lora" or (settings["method"] == "auto" and model.parameters >= LARGE)
    trained = 4 * settings["lora"]["rank"] * model.adapted if lora else weights
    teacher = 0 if rule == "finetune" else model.parameters * (2 if config["compute"]["dtype"] == "bfloat16" else 4)
    passes = {"alternate": 1, "instatune": 2, "sandwich": 2 + settings.get("subnets", 0)}
    passes["stratified"] = 1 + settings.get("subnets", 0)
    number = passes[settings["strategy"]] if "strategy" in settings else 1
    activations = 4 * min(number * settings["batch_tokens"], settings["device_tokens"] or AT_ONCE) * model.kept
    operations = (6 * number + 2 * bool(teacher)) * model.macs * settings["batch_tokens"] * settings["steps"]
    rounded = weights if config["compute"]["dtype"] == "bfloat16" and not lora else 0  # copies and their gradients
    own = weights + 3 * trained + rounded
    if config["compute"]["shard"] is True and config["compute"]["processes"] > 1:  # after it was whole in each process
        own = max(weights, (weights + 3 * trained) / config["compute"]["processes"] + 8 * model.fixed)
    memory = own + activations + teacher + LOGITS
    saved = (3 * trained if settings["steps"] >= settings["checkpoint_steps"] else 0) * 2
    kept = 0 if rule == "train_baseline" else weights
    return Need(operations, memory, weights + stored, 2 * weights + saved, kept)


def memory_mb(rule: str, config: dict, model: Model, gpu: int, attempt: int = 1) -> int:
    """Host memory to ask for, in MB; it grows with each attempt."""
    job, gpu = need(rule, config, model), gpu * uses_gpu(rule)
    processes = config["compute"]["processes"] if rule in TRAININGS else 1
    one = CUDA_MB + job.host / MB if gpu else job.memory / MB
    return _grown(BASE_MB + MARGIN * processes * one + (processes - 1) * 500, attempt)


def runtime_minutes(rule: str, config: dict, model: Model, gpu: int, attempt: int = 1) -> int:
    """Time limit to ask for, in minutes, on a slow node; it grows with each attempt."""
    job, gpu = need(rule, config, model), gpu * uses_gpu(rule)
    threads = config["compute"]["threads"] if rule in TRAININGS or rule == "rank_importance" else 1
    slow = SLOW_THREAD / 2 if config["compute"]["portable"] else SLOW_THREAD  # kernels without the CPU's widest units
    speed = gpu * SLOW_GPU if gpu else threads * slow
    return _grown(MINUTES + (job.operations / speed + job.files / SLOW_DISK) / 60, attempt)


def _grown(amount: float, attempt: int) -> int:
    """Half as much again for each further attempt: a cancelled job asks for more too, and must still fit a node."""
    return ceil(amount * (1 + attempt) / 2)
