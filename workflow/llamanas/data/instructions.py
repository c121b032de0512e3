"""Examples to fine-tune on: Alpaca-format files, hub datasets and the tasks' train splits, as tokens."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llamanas.artifacts import first_line
from llamanas.errors import LlamaNasError
from llamanas.progress import progress


def instruction_rows(
    files: list[Path], hub: list[str], items: Iterable[dict], written: list[dict], tokenizer: Any, settings: dict
) -> list[dict]:
    """Rows of artifact ``instructions``.

    ``items`` are rows of artifact ``questions``, of which the train split is used; ``written`` are examples that the
    model wrote itself. Examples longer than ``settings["max_tokens"]`` are left out.

    Raises:
        LlamaNasError: a source is missing or not in Alpaca format, or no example is left.
    """
    rows = list(written)
    for source, examples in [
        *((str(f), read_examples(f)) for f in files),
        *((name, hub_examples(name)) for name in hub),
    ]:
        tokenized = progress(examples, f"tokenize {source}", len(examples), "example")
        rows += [alpaca_tokens(source, example, tokenizer, settings["template"]) for example in tokenized]
    trained = [item for item in items if item["split"] == "train"] * settings["task_repeats"]
    rows += [example for item in trained for example in train_examples(item, settings["choices"] == "all")]
    kept = [row for row in rows if row["answer"] and len(row["prompt"]) + len(row["answer"]) <= settings["max_tokens"]]
    print(f"{len(kept)} of {len(rows)} examples have at most {settings['max_tokens']} tokens")
    if not kept:
        raise LlamaNasError(
            "there is nothing to fine-tune on: give instructions.files, instructions.hub, instructions.self_examples "
            "or task train splits."
        )
    return kept


def read_examples(path: Path) -> list[dict]:
    """Examples of a JSONL or Parquet file with the columns instruction, input (optional) and output.

    Raises:
        LlamaNasError: the file is missing, of another kind or lacks a column.
    """
    try:
        if path.suffix == ".parquet":
            examples = pq.read_table(path, partitioning=None).to_pylist()
        else:
            examples = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError, OverflowError, RecursionError, pa.ArrowException) as error:
        raise LlamaNasError(
            f"cannot read the examples in {path} (JSONL or Parquet expected): {first_line(error)}"
        ) from error
    return _checked(examples, str(path))


def hub_examples(name: str) -> list[dict]:
    """Examples of the train split of a hub dataset in Alpaca format.

    Raises:
        LlamaNasError: the dataset cannot be had, or lacks a column.
    """
    from datasets import load_dataset

    try:
        return _checked(load_dataset(name, split="train").to_list(), name)
    except Exception as error:
        raise LlamaNasError(f"cannot load the dataset {name!r} of instructions.hub: {first_line(error)}") from error


def _checked(examples: list[dict], source: str) -> list[dict]:
    for number, example in enumerate(examples, 1):
        known = example if isinstance(example, dict) else {}
        texts = [known.get("instruction"), known.get("input") or "", known.get("output")]
        if not all(isinstance(text, str) and text == text.encode(errors="ignore").decode() for text in texts):
            raise LlamaNasError(
                f"example {number} of {source} is not in Alpaca format: expected the texts 'instruction' and 'output', "
                "and 'input' if there is one."
            )
    return examples


def alpaca_tokens(source: str, example: dict, tokenizer: Any, template: str) -> dict:
    """Prompt and answer tokens of one Alpaca example; the answer ends with the end-of-text token."""
    prompt = template.format(instruction=example["instruction"], input=example.get("input") or "").strip()
    whole = tokenizer.encode(f"{prompt} {example['output'].strip()}")
    tokens = tokenizer.encode(prompt)
    answer = [*whole[len(tokens) :], tokenizer.eos_token_id]
    return {"source": source, "prompt": tokens, "answer": answer, "labelled": True}


def train_examples(item: dict, wrong: bool = False) -> list[dict]:
    """An item's gold choice, or all windows of a rolling text, as examples: what the task scores is trained.

    With ``wrong`` its other choices follow, not labelled.
    """
    source = item["item"].split("/")[0]
    if item["kind"] == "loglikelihood_rolling":
        chosen = [*range(len(item["branches"]))]
    else:
        chosen = [item["gold"][0]]
        chosen += [choice for choice in range(len(item["branches"])) if wrong and choice not in item["gold"]]
    examples = []
    for number, choice in enumerate(chosen):
        branch, context = item["branches"][choice], len(item["branches"][choice]) - item["scored"][choice]
        parts = {"prompt": item["prefix"] + branch[:context], "answer": branch[context:]}
        examples.append({"source": source} | parts | {"labelled": number == 0 or item["kind"] != "multiple_choice"})
    return examples
