"""A whole experiment in seconds: a tiny random model with a tokenizer, a tiny task, and a configuration.

`python tests/tiny_experiment.py FOLDER` writes it, to be run with
`snakemake --directory FOLDER --configfile FOLDER/tiny.yaml`.
"""

import json
import sys
from pathlib import Path

import yaml

TRAINING = {"method": "lora", "batch_tokens": 128, "checkpoint_steps": 2, "lora": {"rank": 4, "alpha": 8}}
ANIMALS = ("cat", "dog", "hen", "fox", "cow", "ant", "bee", "owl", "pig", "rat", "bat", "eel")
SOUNDS = ("loud", "soft", "high", "low")


def write_tokenizer(folder: Path, family: str = "llama") -> None:
    """A byte-level BPE tokenizer of 320 tokens, which splits text as the family's tokenizers do."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from llamanas.models.gguf import SPLITTINGS

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if family.startswith("qwen"):
        tokenizer.normalizer, tokenizer.pre_tokenizer = (
            SPLITTINGS["qwen2"].normalizer,
            SPLITTINGS["qwen2"].pre_tokenizer,
        )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([question(n, a)[0] for n in range(20) for a in ANIMALS], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>").save_pretrained(folder)


def question(number: int, animal: str) -> tuple[str, int]:
    """A question about an animal's voice, and which sound is right."""
    return f"Animal {number}: the {animal} sounds", (number + len(animal) + ord(animal[0])) % len(SOUNDS)


def write_task(folder: Path) -> None:
    """A multiple-choice task with three splits."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    files = {}
    for split, first in (("train", 0), ("validation", 8), ("test", 16)):
        rows = [question(number, animal) for number in range(first, first + 4) for animal in ANIMALS]
        columns = {"question": [text for text, _ in rows], "answer": [gold for _, gold in rows]}
        pq.write_table(pa.table(columns), folder / f"{split}.parquet")
        files[split] = f"{split}.parquet"
    task = {
        "task": "tiny_sounds",
        "dataset_path": "parquet",
        "dataset_kwargs": {"data_files": files},
        "output_type": "multiple_choice",
        "training_split": "train",
        "validation_split": "validation",
        "test_split": "test",
        "doc_to_text": "{{question}}",
        "doc_to_choice": list(SOUNDS),
        "doc_to_target": "answer",
        "num_fewshot": 0,
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }
    (folder / "tiny_sounds.yaml").write_text(yaml.safe_dump(task))


def write_experiment(folder: Path, family: str = "llama", **changes) -> Path:
    """Model, task, instructions and configuration in ``folder``; returns the configuration's path."""
    from conftest import tiny_model

    tiny_model(family).save_pretrained(folder / "base")
    write_tokenizer(folder / "base", family)
    write_task(folder / "tasks")
    example = {"instruction": "Name a sound.", "input": "", "output": "loud"}
    (folder / "examples.jsonl").write_text(json.dumps(example) + "\n")
    config = {
        "seed": 7,
        "model": {"source": {"folder": str(folder / "base"), "license": "apache-2.0"}},
        "tasks": ["tiny_sounds"],
        "data": {"task_folders": [str(folder / "tasks")], "search_items": 40, "report_items": 44},
        "instructions": {"files": [str(folder / "examples.jsonl")], "choices": "all", "self_examples": 4},
        "importance": {"calibration_tokens": 128},
        "finetune": TRAINING | {"steps": 4},
        "supernet": TRAINING | {"steps": 6},
        "heal": TRAINING | {"steps": 2},
        "space": {"intermediate_sizes": [32, 64], "kv_heads": [1], "minimum_depth": 0.5},
        "search": {"population": 8, "generations": 2, "predictor_evaluations": 200, "chunks": 2},
        "select": {"bootstrap": 200},
        "export": {"picks": ["half_way"], "precisions": ["fp32", "budget"]},
        "quantize": {"calibration_tokens": 32},
        "benchmark": {"contexts": [8], "new_tokens": 2, "repeats": 2, "runtimes": ["onnxruntime", "pytorch"]},
        "compute": {"device": "cpu", "threads": 1, "batch_tokens": 256, "portable": False},
    }
    for key, value in changes.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


if __name__ == "__main__":
    target = Path(sys.argv[1]).resolve()
    target.mkdir(parents=True, exist_ok=True)
    print(write_experiment(target))
