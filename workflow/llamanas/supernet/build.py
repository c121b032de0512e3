"""Folders of weights as stages hand them on: model.safetensors, config.json and tokenizer files."""

import json
import shutil
from pathlib import Path

from llamanas.artifacts import whole_file
from llamanas.finetune.sharded import whole
from llamanas.models.decoder import Decoder, tensors_to_save


def write_weights(decoder: Decoder, path: Path, leads: bool = True) -> None:
    """Save the decoder's float32 weights under Hugging Face names, as safetensors does but one in memory at a time.

    Where they are divided between processes all take part, and the one that leads writes.

    Raises:
        LlamaNasError: no space is left on the device.
    """
    tensors = dict(sorted(tensors_to_save(decoder).items()))
    if not leads:
        for tensor in tensors.values():
            whole(tensor)
        return
    header: dict[str, dict] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.numel() * tensor.itemsize
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(whole(tensor).numpy().data)


def copy_companions(source: Path, destination: Path) -> None:
    """Copy what belongs to a model besides its weights: configuration, tokenizer, chat template."""
    destination.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir()):
        if file.suffix in (".json", ".jinja", ".model", ".txt"):
            with whole_file(destination / file.name) as temporary:
                shutil.copyfile(file, temporary)
