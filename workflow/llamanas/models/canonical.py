"""The canonical folder of a model: what is in it, how it is checked, and how it is written as a whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from llamanas.artifacts import writing
from llamanas.errors import LlamaNasError

WEIGHTS = "model.safetensors"
HEAD = "lm_head.weight"
# The weights come last: where they stand, the folder is complete.
FILES = (
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    WEIGHTS,
)


# Texts in which every splitting of a supported family shows.
_PROBES = ("In 1990 there were 123 cats", "it's  WE'LL\n\n\t2024\u5e74 nai\u0308ve (or snake_case) x+1=2. ")


class Checkpoint(NamedTuple):
    """A base model in memory: its weights under Hugging Face names, without a second copy of a tied head."""

    config: PretrainedConfig
    weights: dict[str, Tensor]
    tokenizer: PreTrainedTokenizerBase
    generation: dict | None


def expected_shapes(config: PretrainedConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of each weight that a network of this configuration stores.

    Transformers' own class is built without memory for it; its name is noted in the configuration.

    Raises:
        LlamaNasError: no network can be built from the configuration.
    """
    try:
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(config)
    except (ValueError, TypeError, RuntimeError, ZeroDivisionError) as error:
        raise LlamaNasError(f"config.json of the model describes no network that can be built: {error}") from error
    config.architectures = [type(network).__name__]
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    if config.tie_word_embeddings:
        del shapes[HEAD]
    return shapes


def check_shapes(origin: str, found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse weights that are not exactly what the configuration asks for.

    Raises:
        LlamaNasError: a tensor is missing, is not part of the network, or has another shape.
    """
    if missing := sorted(expected.keys() - found.keys()):
        raise LlamaNasError(f"{origin} lacks {_some(missing)}; the download or copy is incomplete, fetch it again.")
    if surplus := sorted(found.keys() - expected.keys()):
        raise LlamaNasError(
            f"{origin} holds {_some(surplus)}, which a network of its configuration does not have; configuration and "
            "weights belong to different models, or the network is of an unsupported kind."
        )
    if wrong := [f"{name} {list(found[name])}" for name in sorted(expected) if found[name] != expected[name]]:
        name = wrong[0].split()[0]
        raise LlamaNasError(
            f"{origin} holds {_some(wrong)}, but its configuration asks for {list(expected[name])} in {name}; "
            "configuration and weights belong to different models."
        )


def write_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write the canonical files of a model into a folder.

    Raises:
        LlamaNasError: a weight is not finite, or the tokenizer does not fit the model or is not read back as it was.
    """
    for name, tensor in checkpoint.weights.items():
        if not torch.isfinite(tensor).all():
            raise LlamaNasError(
                f"the weights in {name} are not all finite in {tensor.dtype}; the source is damaged or the type too "
                "narrow. Fetch the source again or choose model.dtype: float32."
            )
    checkpoint.config.dtype = next(iter(checkpoint.weights.values())).dtype
    checkpoint.config.save_pretrained(folder)
    _write_tokenizer(checkpoint.tokenizer, checkpoint.config.vocab_size, folder)
    if checkpoint.generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(checkpoint.generation, indent=2, sort_keys=True))
    weights = {name: tensor.contiguous() for name, tensor in sorted(checkpoint.weights.items())}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    shutil.copymode(folder / "config.json", folder / WEIGHTS)  # safetensors makes it readable by its owner alone


def _write_tokenizer(tokenizer: PreTrainedTokenizerBase, embedded: int, folder: Path) -> None:
    """Write the tokenizer beside its config.json, and make sure that AutoTokenizer reads the same one back."""
    if not 0 < len(tokenizer) <= embedded:
        raise LlamaNasError(
            f"the tokenizer knows {len(tokenizer)} tokens, the model embeds {embedded}; they do not belong together."
        )
    tokenizer.save_pretrained(folder)
    if not (folder / "tokenizer.json").exists():
        raise LlamaNasError("the tokenizer cannot be stored as tokenizer.json; give a model with a fast tokenizer.")
    again = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    for text in _PROBES:
        # For some families AutoTokenizer ignores how tokenizer.json splits text and takes the family's usual splitting.
        if again(text).input_ids != tokenizer(text).input_ids:
            raise LlamaNasError(
                f"transformers' AutoTokenizer reads the tokenizer as {type(again).__name__}, which gives other tokens "
                f"for {text!r} than the source's; results would not hold for anyone who loads the model. Choose a "
                "model with its family's usual tokenizer."
            )


@contextmanager
def replaced_folder(destination: Path) -> Iterator[Path]:
    """An empty folder beside ``destination``; its canonical files replace those there when the block succeeds.

    A process killed at any moment leaves no weights or all files; other files in ``destination`` stay.

    Raises:
        LlamaNasError: no space is left on the device, or nothing may be written there.
    """
    work = destination.with_name(f".{destination.name}.part")
    shutil.rmtree(work, ignore_errors=True)
    try:
        with writing(destination):
            work.mkdir(parents=True)
            yield work
            destination.mkdir(exist_ok=True)
            for name in reversed(FILES):
                (destination / name).unlink(missing_ok=True)
            for name in FILES:
                if (work / name).exists():
                    with (work / name).open("rb") as file:
                        os.fsync(file.fileno())
                    (work / name).replace(destination / name)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _some(names: list[str], shown: int = 3) -> str:
    """The first few names, and how many more there are."""
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + rest
