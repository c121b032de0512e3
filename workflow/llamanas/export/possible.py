"""What of the wanted exports a model rules out, known before it is trained."""

from pathlib import Path
from tempfile import TemporaryDirectory

import gguf

from llamanas.export.huggingface import refuse_deci
from llamanas.export.vocabulary import add_vocabulary
from llamanas.models.families import read_config, shape_of


def check_exports(folder: Path, config: dict) -> None:
    """Refuse a configuration whose sections ``export`` and ``space`` ask for files that this model cannot become.

    Raises:
        LlamaNasError: llama.cpp does not reproduce the tokenizer in the folder, or vLLM's DeciLM has not all that
            the family's layers have.
    """
    shape, export, space = shape_of(read_config(folder / "config.json")), config["export"], config["space"]
    if "deci" in export["variants"] and (space["intermediate_sizes"] or space["drop_attention"]):
        refuse_deci(shape)
    if export["gguf"]:
        with TemporaryDirectory() as work:
            writer = gguf.GGUFWriter(Path(work, "vocabulary.gguf"), "llama")
            add_vocabulary(writer, folder, shape.vocabulary_size)
