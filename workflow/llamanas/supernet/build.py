"""Folders of weights as stages hand them on: model.safetensors, config.json and tokenizer files."""

import shutil
from pathlib import Path

from llamanas.artifacts import whole_file
from llamanas.models.decoder import Decoder, tensors_to_save


def write_weights(decoder: Decoder, path: Path) -> None:
    """Save the decoder's weights under Hugging Face names.

    Raises:
        LlamaNasError: no space is left on the device.
    """
    from safetensors.torch import save_file

    with whole_file(path) as temporary:
        save_file(tensors_to_save(decoder), temporary, metadata={"format": "pt"})


def copy_companions(source: Path, destination: Path) -> None:
    """Copy what belongs to a model besides its weights: configuration, tokenizer, chat template."""
    destination.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir()):
        if file.suffix in (".json", ".jinja", ".model", ".txt"):
            with whole_file(destination / file.name) as temporary:
                shutil.copyfile(file, temporary)
