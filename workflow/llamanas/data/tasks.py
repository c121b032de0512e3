"""lm-eval tasks, found by name, and their documents as items: divided into splits, rendered, tokenized once."""

import contextlib
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from llamanas.errors import LlamaNasError
from llamanas.randomness import shuffled_by_hash

FEWSHOT_SEED = 1234  # lm-eval's own default, so that prompts equal those of its command line


def load_tasks(name: str, folders: list[Path], few_shot: int | None = None) -> list[Any]:
    """The lm-eval tasks of this name: one, or the members of a group.

    A YAML file in one of the folders wins over lm-eval's own task of the same name; the relative paths of its data
    files start at its folder.

    Raises:
        LlamaNasError: no such task, its data are missing, or it is not multiple-choice.
    """
    from lm_eval.tasks import TaskManager

    # Absolute, since the YAML is read from its own folder.
    paths = [str(folder.resolve()) for folder in folders]
    own = TaskManager(include_path=paths, include_defaults=False)
    manager = own if name in own.all_tasks else TaskManager(include_path=paths)
    if name not in manager.all_tasks:
        raise LlamaNasError(
            f"there is no task {name!r}: neither a YAML file with 'task: {name}' in {', '.join(map(str, folders))} nor "
            f"one of lm-eval's own. Known in these folders: {', '.join(own.all_tasks) or 'none'}. "
            "`lm-eval ls tasks` lists the rest."
        )
    yaml = manager.task_index[name].yaml_path
    try:
        with contextlib.chdir(yaml.parent if yaml else "."):
            tasks = list(manager.load(name)["tasks"].values())
    except Exception as error:  # datasets raises many kinds for a missing or broken file
        raise LlamaNasError(f"the data of task {name!r} cannot be loaded: {str(error).splitlines()[0]}") from error
    for task in tasks:
        if task.OUTPUT_TYPE != "multiple_choice":
            raise LlamaNasError(
                f"task {task.task_name!r} is {task.OUTPUT_TYPE!r}; supported are multiple_choice tasks."
            )
        if few_shot is not None or task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=few_shot or 0)
    return tasks


def task_questions(
    tasks: list[Any], tokenizer: Any, max_tokens: int, search_items: int | None, report_items: int | None
) -> list[dict]:
    """Rows of artifact ``questions``: the train, search and report splits of a task or group.

    The search split is the task's validation split and the report split its test split. Where a task scores only one
    split, that one is divided in two by a hash of each item's text.

    Raises:
        LlamaNasError: a split is empty.
    """
    rows = [row for task in tasks for row in _split_items(task, tokenizer, max_tokens)]
    name = tasks[0].task_name
    kept = []
    for split, limit in (("train", None), ("search", search_items), ("report", report_items)):
        of_split = {row["item"]: row for row in rows if row["split"] == split}
        if split != "train" and not of_split:
            raise LlamaNasError(f"task {name!r} has no items for the {split} split; it needs at least one each.")
        chosen = set(shuffled_by_hash(list(of_split), name, split)[:limit])
        kept += [row for item, row in of_split.items() if item in chosen]
        print(f"{name}: {len(chosen)} of {len(of_split)} items in the {split} split")
    return kept


def _split_items(task: Any, tokenizer: Any, max_tokens: int) -> Iterable[dict]:
    config = task.config
    scored = config.test_split or config.validation_split
    search = config.validation_split if config.test_split else None
    for source, split in ((config.training_split, "train"), (search, "search"), (scored, "report")):
        if source is None or source == scored and split == "train":
            continue
        for row in _render(task, source, tokenizer, max_tokens):
            row["split"] = split if search or split == "train" else _half(row)
            yield row


def _half(row: dict) -> str:
    """Search or report, by a hash of the item's text, for a task that scores one split alone."""
    text = "\x1f".join([row["context_text"], *row["choice_texts"]])
    return ("search", "report")[hashlib.sha256(text.encode()).digest()[0] % 2]


def _render(task: Any, source: str, tokenizer: Any, max_tokens: int) -> Iterable[dict]:
    """The items of one split of the data, with the prompts that lm-eval itself builds."""
    scored, task.config.test_split = task.config.test_split, source
    try:
        task.set_fewshot_seed(FEWSHOT_SEED)
        task.build_all_requests()
        documents = list(task.eval_docs)
    finally:
        task.config.test_split = scored
    requests: dict[int, list] = {}
    for request in task.instances:
        requests.setdefault(request.doc_id, []).append(request)
    for index, of_item in requests.items():
        document = documents[index]
        choices = task.doc_to_choice(document)
        pairs = [request.args for request in of_item[: len(choices)]]  # further ones belong to acc_mutual_info
        yield {
            "item": f"{task.task_name}/{source}/{index}",
            "source_split": source,
            **branches([encode_pair(tokenizer, context, choice) for context, choice in pairs], max_tokens),
            "lengths": [len(choice) for choice in choices],
            "gold": _gold(task, document, choices),
            "context_text": pairs[0][0],
            "choice_texts": list(choices),
        }


def _gold(task: Any, document: dict, choices: list[str]) -> list[int]:
    gold = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
    answers = gold if isinstance(gold, list) else [gold]
    return [choices.index(answer) if isinstance(answer, str) else int(answer) for answer in answers]


def encode_pair(tokenizer: Any, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Tokens of a context and of what follows, divided as lm-eval does: spaces at the seam go to the continuation."""
    encode: Callable[[str], list[int]] = tokenizer.encode
    if not context:
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        return [start], tokenizer.encode(continuation, add_special_tokens=False)
    stripped = context.rstrip()
    continuation = context[len(stripped) :] + continuation
    tokens = encode(stripped)
    return tokens, encode(stripped + continuation)[len(tokens) :]


def branches(pairs: list[tuple[list[int], list[int]]], max_tokens: int) -> dict:
    """The prefix that all contexts of an item share, and for each choice the rest of its context with the choice.

    The shared part is computed once when an item is scored. Prompts longer than ``max_tokens`` lose their beginning.
    """
    pairs = [((context + choice)[-max_tokens - 1 : -len(choice)], choice) for context, choice in pairs]
    shared = 0
    while len({tuple(context[: shared + 1]) for context, _ in pairs}) == 1 and shared < min(len(c) for c, _ in pairs):
        shared += 1
    return {
        "prefix": pairs[0][0][:shared],
        "branches": [context[shared:] + choice for context, choice in pairs],
        "scored": [len(choice) for _, choice in pairs],
    }
