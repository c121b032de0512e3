"""A Hugging Face folder with random weights of a published shape, to run an experiment of that size without them.

    python benchmarks/random_model.py FOLDER [--shape llama2-7b] [--device cuda]

Weights are bfloat16, in a shard for every eight layers; the tokenizer is byte-level BPE of this repository's own
instructions. What `config/llama2-7b.yaml` takes at its real size, in time and memory, is then measured by

    python benchmarks/random_model.py runs/random-7b/model
    snakemake --directory runs/random-7b results/onnx/mini_language/smaller_1_5/int8/model.onnx \\
        --configfile config/llama2-7b.yaml benchmarks/random_7b.yaml
    python -m llamanas.estimate --configfile config/llama2-7b.yaml benchmarks/random_7b.yaml --directory runs/random-7b

Accuracies of such a network are those of chance; the files' own accuracy and speed on a CPU would take hours.
"""

import argparse
import json
from pathlib import Path

import torch
from deployment import SHAPES, random_tensors
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from llamanas.models.families import shape_of

ROOT = Path(__file__).resolve().parents[1]
LAYERS_OF_A_SHARD = 8


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="llama2-7b")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def write_tokenizer(folder: Path, vocabulary_size: int) -> None:
    """Byte-level BPE of at most so many tokens, the end of a text being the first."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size, special_tokens=["</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train([str(path) for path in sorted((ROOT / "config/instructions").glob("*.jsonl"))], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="</s>", eos_token="</s>").save_pretrained(folder)


def shard(name: str) -> int:
    """Which shard a tensor goes to: that of its layer; embeddings, head and last norm share the first."""
    parts = name.split(".")
    return int(parts[2]) // LAYERS_OF_A_SHARD + 1 if parts[1] == "layers" else 0


def write_weights(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Shards and their index; the dictionary is emptied, so that no shard is in memory twice."""
    count = max(map(shard, tensors)) + 1
    places = {name: f"model-{shard(name) + 1:05}-of-{count:05}.safetensors" for name in tensors}
    for file in sorted({*places.values()}):
        part = {name: tensors.pop(name).cpu().clone() for name, place in places.items() if place == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def config_of(name: str) -> dict:
    """The config.json of a shape."""
    sizes = SHAPES[name]
    return {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "dtype": "bfloat16", "tie_word_embeddings": False,
        "num_hidden_layers": sizes["layers"], "hidden_size": sizes["hidden"], "intermediate_size": sizes["width"],
        "num_attention_heads": sizes["heads"], "num_key_value_heads": sizes["heads"], "vocab_size": sizes["vocabulary"],
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "bos_token_id": 0, "eos_token_id": 0,
    }  # fmt: skip


def main() -> None:
    options = arguments()
    config, sizes = config_of(options.shape), SHAPES[options.shape]
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "config.json").write_text(json.dumps(config, indent=1))
    write_tokenizer(options.folder, sizes["vocabulary"])
    shape = shape_of(config)
    write_weights(options.folder, random_tensors(shape, shape.full, options.device, "bfloat16"))


if __name__ == "__main__":
    main()
