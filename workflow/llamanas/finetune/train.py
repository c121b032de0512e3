"""The training loop of the super-network: full network and sampled sub-networks, resumable at any saved step."""

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch

from llamanas.architecture import Architecture
from llamanas.artifacts import whole_file
from llamanas.data.packing import Answers, epochs, pack
from llamanas.errors import LlamaNasError
from llamanas.finetune.lora import add_adapters, merge_adapters
from llamanas.finetune.losses import answer_logits, answer_loss, instatune_loss
from llamanas.models.decoder import Decoder
from llamanas.progress import progress
from llamanas.randomness import generator
from llamanas.supernet.space import SearchSpace


def train(
    decoder: Decoder, space: SearchSpace, examples: list[dict], settings: dict, seed: int, dtype: str, resume: Path
) -> list[dict]:
    """Train the super-network in place and return the rows of artifact ``losses``.

    Strategy ``alternate`` (LLaMA-NAS) trains the full network and a random sub-network in turn on the answers;
    ``instatune`` (arXiv 2308.15609) trains both in every step, the sub-network on the full network's distribution too.
    Every draw depends on the seed and the step alone, so a training that goes on from the state in folder ``resume``
    equals an unbroken one.

    Raises:
        LlamaNasError: the loss is not finite.
    """
    if settings["steps"] == 0:
        return []
    torch.manual_seed(seed)
    decoder.requires_grad_(settings["method"] == "full")
    if settings["method"] == "lora":
        add_adapters(decoder, settings["lora"])
    trained = [parameter for parameter in decoder.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, settings["learning_rate"], weight_decay=settings["weight_decay"])
    saved = resume / "state.pt"
    done, losses = _resumed(saved, trained, optimizer)
    device = trained[0].device.type
    batches = islice(epochs(examples, settings["batch_tokens"], seed), done, settings["steps"])
    for step, batch in enumerate(progress(batches, "fine-tune", settings["steps"] - done), done):
        for group in optimizer.param_groups:
            group["lr"] = settings["learning_rate"] * schedule(step, settings["steps"], settings["warmup"])
        packed = pack(batch, settings["batch_tokens"], str(trained[0].device))
        architecture = space.random(generator(seed, "subnet", step))
        with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            losses += _step_losses(decoder, packed, architecture, settings, step)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % settings["checkpoint_steps"] == 0:
            _save(saved, trained, optimizer, step + 1, losses)
    if settings["method"] == "lora":
        merge_adapters(decoder)
    decoder.requires_grad_(False)
    return losses


def _step_losses(
    decoder: Decoder, batch: Answers, architecture: Architecture, settings: dict, step: int
) -> Iterator[dict]:
    """Back-propagate the losses of one step; the gradients add up in the weights."""
    both = settings["strategy"] == "instatune"
    teacher = None
    if both or step % 2 == 0:
        teacher = answer_logits(decoder.hidden(batch.sequence), batch.rows, decoder.lm_head)
        yield _backward(answer_loss(teacher, batch.targets), "full", batch, step)
    if both or step % 2 == 1:
        student = answer_logits(decoder.hidden(batch.sequence, architecture), batch.rows, decoder.lm_head)
        if teacher is None:
            loss = answer_loss(student, batch.targets)
        else:
            loss = instatune_loss(student, teacher.detach(), batch.targets, settings["answer_weight"])
        yield _backward(loss, architecture.id, batch, step)


def _backward(loss: torch.Tensor, subnet: str, batch: Answers, step: int) -> dict:
    if not torch.isfinite(loss):
        raise LlamaNasError(f"the loss is {float(loss)} at step {step}; lower finetune.learning_rate and run again.")
    loss.backward()
    return {"step": step, "subnet": subnet, "loss": float(loss.detach()), "tokens": batch.tokens}


def schedule(step: int, steps: int, warmup: float) -> float:
    """Share of the peak learning rate: a linear rise over the warm-up, then half a cosine to a tenth."""
    rise = warmup * steps
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - rise) / max(steps - rise, 1)))


def _save(path: Path, trained: list, optimizer: torch.optim.Optimizer, step: int, losses: list[dict]) -> None:
    state = {"weights": trained, "optimizer": optimizer.state_dict(), "step": step, "losses": losses}
    with whole_file(path) as temporary:
        torch.save(state, temporary)


def _resumed(path: Path, trained: list, optimizer: torch.optim.Optimizer) -> tuple[int, list[dict]]:
    """The steps done and their losses, weights and optimizer set to that state; nothing done without a saved state."""
    if not path.exists():
        return 0, []
    state = torch.load(path, map_location=trained[0].device, weights_only=True)
    with torch.no_grad():
        for parameter, saved in zip(trained, state["weights"], strict=True):
            parameter.copy_(saved)
    optimizer.load_state_dict(state["optimizer"])
    print(f"going on from step {state['step']} of {path}")
    return state["step"], state["losses"]
