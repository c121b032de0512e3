"""The one training loop: any plan of passes, resumable at any saved step, in one process or several."""

import json
import math
import zipfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from llamanas.architecture import Architecture, SubLayer
from llamanas.artifacts import whole_file
from llamanas.data.packing import Answers, divide, epochs, flatten, longest, pack, sent
from llamanas.errors import LlamaNasError
from llamanas.finetune.lora import add_adapters, merge_adapters
from llamanas.finetune.losses import Targets, Teacher, head_loss, hidden_loss
from llamanas.finetune.parallel import Team
from llamanas.finetune.recorded import Recorded
from llamanas.finetune.rounded import Rounded
from llamanas.finetune.sharded import placed, shard, whole
from llamanas.finetune.strategies import Pass, Plan
from llamanas.models.decoder import Decoder, Layer
from llamanas.models.joined import join, separate
from llamanas.models.place import Place
from llamanas.progress import progress
from llamanas.resources import AT_ONCE

LOSSES_AT_ONCE = 16  # read from the device together: each reading waits for it
GRADIENT_NORM = 1.0
LEAST = 8192  # tokens of a part that keep a GPU busy; rather than divide more, activations are computed again
PROGRESS = "progress.json"  # in a saved state, beside weights and moments
LARGE = 10**9  # parameters from which `auto` trains adapters


class Done(NamedTuple):
    """A finished step: the losses of its passes, still on the device, and the tokens of this process."""

    step: int
    passes: list[Pass]
    losses: Tensor
    tokens: int


class Part(NamedTuple):
    """What one process passes through the networks at once, with the answer tokens of the whole step's batch.

    Losses are shares of these numbers; of a part that does not count they are infinite.
    """

    batch: Answers
    answers: float
    positions: float


def train(
    decoder: Decoder,
    plan: Plan,
    examples: list[dict],
    settings: dict,
    seed: int,
    dtype: str,
    resume: Path,
    teacher: Decoder | None = None,
    team: Team | None = None,
) -> list[dict]:
    """Train the decoder in place and return the rows of artifact ``losses``.

    ``settings`` is section ``finetune``, ``supernet`` or ``heal`` of the config. Passes with a teacher learn from the
    full network of ``teacher``, or without one from what the step's first pass, the full network, has just computed.
    Every draw depends on the seed and the step alone, so a training that goes on from the state in folder ``resume``
    equals an unbroken one. A team that divides the network takes a whole decoder, on any device, and leaves it divided.

    Raises:
        LlamaNasError: the loss is not finite, no example has a right answer, or a batch is too small to be divided.
    """
    if settings["steps"] == 0:
        return []
    team = team or Team()
    torch.manual_seed(seed)
    lora = trains_adapters(sum(parameter.numel() for parameter in decoder.parameters()), settings)
    if lora:
        decoder.requires_grad_(False)
        add_adapters(decoder, settings["lora"])
    else:
        if not team.shards:
            join(decoder)
        decoder.requires_grad_(True)
    if team.shards:
        shard(decoder, dtype)
        settings = settings | {"compile": False}  # what gathers the weights is not for the compiler
    peak = settings["learning_rate"] or (0.001 if lora else 0.0003)
    examples, length = _usable(examples, plan, settings, team)
    trained = {name: parameter for name, parameter in decoder.named_parameters() if parameter.requires_grad}
    weights = list(trained.values())
    device = weights[0].device
    networks = max(len(plan(step)) for step in range(2))
    at_once, recomputes = team.agreed(_at_once(decoder, networks, settings, device, dtype, lora, team))
    optimizer = torch.optim.AdamW(weights, peak, betas=(0.9, 0.95), weight_decay=settings["weight_decay"], fused=True)
    saved = resume / "state.zip"
    done, losses = _resumed(saved, trained, optimizer)
    rounded = Rounded(decoder) if dtype == "bfloat16" and not lora and not team.shards else None
    lessons = Recorded(teacher) if teacher else None
    call = _sub_layer(settings, device, dtype, recomputes)
    batches = islice(epochs(examples, settings["batch_tokens"], seed), done, settings["steps"])
    pending: list[Done] = []
    for step, batch in enumerate(progress(batches, "train", settings["steps"] - done), done):
        for group in optimizer.param_groups:
            group["lr"] = peak * schedule(step, settings["steps"], settings["warmup"])
        passes, tokens = plan(step), 0
        if rounded:
            rounded.update()
        sums = torch.zeros(len(passes), device=device)
        for share in _parts(batch, at_once // len(passes), settings, team, length, device, dtype):
            with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
                learner = rounded.decoder if rounded else decoder
                sums += _back_propagate(learner, lessons, share, passes, settings, call)
            if rounded:
                rounded.hand_over()
            tokens += share.batch.tokens
        pending.append(Done(step, passes, sums, tokens))
        if not team.shards:
            team.add_up([weight.grad for weight in weights if weight.grad is not None])
        torch.nn.utils.clip_grad_norm_(weights, GRADIENT_NORM)
        optimizer.step()
        optimizer.zero_grad()
        saves = (step + 1) % settings["checkpoint_steps"] == 0
        if saves or step + 1 == settings["steps"] or len(pending) >= LOSSES_AT_ONCE:
            losses += _read(pending, team, decoder.shape.full)
            pending = []
        if saves:
            _save(saved, trained, optimizer, step + 1, losses, team)
    if lora:
        merge_adapters(decoder)
    elif not team.shards:
        separate(decoder)
    decoder.requires_grad_(False)
    return losses


def trains_adapters(parameters: int, settings: dict) -> bool:
    """Whether adapters are trained, and not all weights, in a network of so many parameters."""
    return parameters >= LARGE if settings["method"] == "auto" else settings["method"] == "lora"


def _usable(examples: list[dict], plan: Plan, settings: dict, team: Team) -> tuple[list[dict], int]:
    """The examples that the plan can learn from, and the tokens of the longest; wrong choices need a teacher.

    Raises:
        LlamaNasError: there is none, or a batch may be too small to be divided.
    """
    if all(each.teacher_weight == 0 for step in range(2) for each in plan(step)):
        examples = [example for example in examples if example["labelled"]]
    if not examples:
        raise LlamaNasError("no example has a right answer, which this strategy trains on.")
    length = longest(examples)
    least = (team.count + 1) * 2 * length
    if team.count > 1 and settings["batch_tokens"] < least:
        # Each process must have something of every batch, or there are no gradients to add up.
        raise LlamaNasError(
            f"batch_tokens is {settings['batch_tokens']}, too few for {team.count} processes and examples of up to "
            f"{length} tokens; raise it to {least} or lower instructions.max_tokens."
        )
    return examples, length


def _parts(
    batch: list[dict], most: int, settings: dict, team: Team, length: int, device: torch.device, dtype: str
) -> Iterator[Part]:
    """This process's share of a step's batch, in parts of at most ``most`` tokens and an example.

    Where the network is divided, all processes must pass as many parts; an empty one is an example that does not count.
    """
    count = team.count * math.ceil(settings["batch_tokens"] / (team.count * max(most, 1)))
    positions = sum(len(example["answer"]) for example in batch)
    answers = sum(len(example["answer"]) for example in batch if example["labelled"])
    for own in divide(batch, count)[team.rank :: team.count]:
        if not own and not team.shards:
            continue
        part = own or batch[:1]
        if _flattens(device, dtype):
            packed = flatten(part, math.ceil(settings["batch_tokens"] / count) + length, length, str(device))
        else:
            packed = pack(part, str(device))
        yield Part(packed, answers, positions) if own else Part(packed._replace(tokens=0), math.inf, math.inf)


def _flattens(device: torch.device, dtype: str) -> bool:
    """Whether texts may stand in one row without a mask: flash attention wants bfloat16 and an Ampere GPU or newer."""
    return device.type == "cuda" and dtype == "bfloat16" and torch.cuda.get_device_capability(device)[0] >= 8


def _back_propagate(
    decoder: Decoder, teacher: Recorded | None, part: Part, passes: list[Pass], settings: dict, call: Callable
) -> Tensor:
    """The losses of the passes, which go through the layers together; the gradients add up in the weights."""
    batch = part.batch
    taught = [number for number, each in enumerate(passes) if each.teacher_weight]
    lesson = None
    if teacher and taught:
        with torch.autocast(batch.rows.device.type, enabled=False):
            known = teacher(batch.sequence).flatten(0, 1).index_select(0, batch.rows)
        lesson = Teacher(known, teacher.head)
    hidden = decoder.hidden_at(batch.sequence, batch.rows, [each.architecture for each in passes], call)
    if taught and lesson is None:
        lesson = Teacher(hidden[0].detach(), decoder.lm_head.weight.detach())
    weights = [[each.answer_weight / max(part.answers, 1), each.teacher_weight / part.positions] for each in passes]
    answers, divergence = sent(np.array(weights, np.float32), str(hidden.device)).T[..., None]
    targets = Targets(batch.targets, answers * batch.labelled, divergence.expand(-1, len(batch.rows)))
    loss, losses = head_loss(hidden, decoder.lm_head.weight, targets, lesson)
    if lesson and settings["hidden_weight"]:
        share = settings["hidden_weight"] * len(batch.rows) / part.positions
        distances = torch.stack([hidden_loss(hidden[number], lesson.hidden) for number in taught])
        loss = loss + share * distances.sum()
        losses = losses.index_add(0, sent(np.array(taught), str(hidden.device)), share * distances.detach())
    loss.backward()
    return losses


def _sub_layer(settings: dict, device: torch.device, dtype: str, recomputes: bool) -> Callable:
    """How training computes a sub-layer: compiled where the settings say so, its activations kept or not."""
    call: Callable = Layer.__call__
    if settings["compile"] and device.type == "cuda" and not _flattens(device, dtype):
        print("not compiled: only bfloat16 on an Ampere GPU or newer packs texts into batches of one shape")
    elif settings["compile"]:
        torch._dynamo.config.recompile_limit = 256  # a graph for each size of each kind of sub-layer
        call = _of_any_size(torch.compile(call, dynamic=False))
    if not recomputes:
        return call

    def recomputed(layer: Layer, x: Tensor, place: Place, part: SubLayer) -> Tensor:
        result: Tensor = checkpoint(call, layer, x, place, part, use_reentrant=False)
        return result

    return recomputed


def _of_any_size(compiled: Callable) -> Callable:
    """The compiled sub-layer, with one graph for all numbers of tokens and texts, and of networks if several pass."""

    def call(layer: Layer, x: Tensor, place: Place, part: SubLayer) -> Tensor:
        if place.bounds is not None:
            torch._dynamo.maybe_mark_dynamic(x, [0, 1] if len(x) > 1 else [1])
            for tensor, axis in ((place.bounds, 0), *((angles, 1) for angles in place.rotation)):
                torch._dynamo.maybe_mark_dynamic(tensor, axis)
        result: Tensor = compiled(layer, x, place, part)
        return result

    return call


def _at_once(
    decoder: Decoder, networks: int, settings: dict, device: torch.device, dtype: str, lora: bool, team: Team
) -> tuple[int, bool]:
    """Most tokens that the networks of a step together have in one part, and whether activations are computed again.

    What the settings leave open follows the GPU: activations may take half of the memory that the weights, a teacher,
    gradients, moments and rounded copies leave. They take 4 bytes each, half of that in bfloat16, and half again in
    compiled sub-layers; of those that are computed again only the inputs are kept. To be asked before moments exist.
    """
    given, recomputes = settings["device_tokens"], settings["checkpointing"]
    if device.type == "cpu":
        return given or AT_ONCE, bool(recomputes)
    trained = sum(parameter.numel() for parameter in decoder.parameters() if parameter.requires_grad)
    states = trained * (12 if lora or dtype == "float32" else 16)
    if team.shards:  # and outside of the layers, weights and gradients that are whole during a pass
        states = trained * 12 // team.count + 8 * decoder.shape.fixed_parameters
    left = torch.cuda.get_device_properties(device).total_memory - torch.cuda.memory_allocated(device) - states
    shape, size = decoder.shape, 4 if dtype == "float32" else 1 if settings["compile"] else 2
    kept = size * shape.layers * (8 * shape.hidden_size + 3 * shape.query_size + 4 * shape.intermediate_size)
    if recomputes is None:
        recomputes = min(given or LEAST, networks * settings["batch_tokens"]) > left / 2 / kept
    inputs = 4 * 2 * shape.layers * shape.hidden_size
    return given or max(int(left / 2 / (inputs if recomputes else kept)), LEAST), recomputes


def schedule(step: int, steps: int, warmup: float) -> float:
    """Share of the peak learning rate: a linear rise over the warm-up, then half a cosine to a tenth."""
    rise = warmup * steps
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - rise) / max(steps - rise, 1)))


def _read(pending: list[Done], team: Team, full: Architecture) -> list[dict]:
    """Rows of artifact ``losses``, those of all processes added up.

    Raises:
        LlamaNasError: a loss is not finite.
    """
    losses = torch.cat([done.losses for done in pending])
    tokens = torch.tensor([done.tokens for done in pending], device=losses.device)
    team.add_up([losses, tokens])
    values, rows = iter(losses.tolist()), []
    for done, count in zip(pending, tokens.tolist(), strict=True):
        for each in done.passes:
            name = "full" if each.architecture == full else each.architecture.id
            rows.append({"step": done.step, "subnet": name, "loss": next(values), "tokens": count})
    if wrong := [row for row in rows if not math.isfinite(row["loss"])]:
        step = wrong[0]["step"]
        raise LlamaNasError(f"the loss is {wrong[0]['loss']} at step {step}; lower the learning_rate and run again.")
    return rows


def _save(
    path: Path,
    trained: dict[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    step: int,
    losses: list[dict],
    team: Team,
) -> None:
    """Write weights and moments under their names, one at a time; where they are divided all processes take part."""
    tensors = (
        (f"{name}/{kind}", tensor)
        for name, weight in trained.items()
        for kind, tensor in {"weight": weight, **optimizer.state.get(weight, {})}.items()
    )
    if not team.leads:
        for _, tensor in tensors if team.shards else ():
            whole(tensor)
        return
    with whole_file(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, tensor in tensors:
            with archive.open(name, "w", force_zip64=True) as record:
                record.write(whole(tensor).numpy().data)
        archive.writestr(PROGRESS, json.dumps({"step": step, "losses": losses}))


def _resumed(path: Path, trained: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> tuple[int, list[dict]]:
    """The steps done and their losses, weights and optimizer set to that state; nothing done without a sound state."""
    if not path.exists():
        return 0, []
    try:
        archive = zipfile.ZipFile(path)
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"the checksum of {damaged} does not hold")
        state = json.loads(archive.read(PROGRESS))
    except Exception as error:  # of many kinds
        print(f"the training begins anew: {path} is damaged ({error})")
        return 0, []
    with archive:
        there = set(archive.namelist())
        if not all(f"{name}/weight" in there for name in trained):
            print(f"the training begins anew: {path} holds other weights, of a training that was not divided alike")
            return 0, []

        def read(name: str, like: Tensor) -> Tensor:
            return placed(torch.frombuffer(bytearray(archive.read(name)), dtype=torch.float32).view(like.shape), like)

        moments: dict[int, dict[str, Tensor]] = {}
        for number, (name, weight) in enumerate(trained.items()):
            with torch.no_grad():
                weight.copy_(read(f"{name}/weight", weight))
            if f"{name}/step" in there:  # else it was not trained so far
                moments[number] = {kind: read(f"{name}/{kind}", weight) for kind in ("exp_avg", "exp_avg_sq")}
                moments[number]["step"] = read(f"{name}/step", torch.zeros(()))
    optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    print(f"going on from step {state['step']} of {path}")
    return state["step"], state["losses"]
