"""lm-eval tasks, found by name, and their documents as items: divided into splits, rendered, tokenized once."""

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment

from llamanas.artifacts import first_line
from llamanas.errors import LlamaNasError
from llamanas.randomness import shuffled_by_hash

KINDS = ("multiple_choice", "loglikelihood", "loglikelihood_rolling")  # lm-eval's output types that need no generation
FEWSHOT_SEED = 1234  # lm-eval's own default, so that prompts equal those of its command line


@contextlib.contextmanager
def _guarded(code: bool) -> Iterator[None]:
    """Keep task files from running code: what they import, metrics of the hub, and what templates can reach.

    lm-eval's own files may import their neighbours; others only if ``code``.
    """
    import lm_eval.api.task
    import lm_eval.tasks._yaml_loader as loader
    from lm_eval import utils
    from lm_eval.api.registry import metric_registry

    real, package = loader._import_func_in_yml, Path(lm_eval.__file__).parent

    def imported(function: str, folder: Path) -> Any:
        if not code and not folder.resolve().is_relative_to(package):
            raise LlamaNasError(
                f"a file in {folder} asks to run Python code (!function {function}). If you trust it, set "
                "data.task_code: true."
            )
        return real(function, folder)

    # Only for the metrics that lm-eval computes itself; none of another kind is needed here.
    lm_eval.api.task.get_metric = lambda metric, _=False: metric_registry.get(metric, None)
    plain = utils.env
    utils.env = ImmutableSandboxedEnvironment(
        loader=plain.loader, undefined=plain.undefined, keep_trailing_newline=plain.keep_trailing_newline
    )
    utils.env.filters |= plain.filters
    loader._import_func_in_yml = imported
    try:
        yield
    finally:
        loader._import_func_in_yml = real


@cache
def _lm_evals_own() -> Any:
    """The tasks that come with lm-eval, whose list takes seconds to read."""
    from lm_eval.tasks import TaskManager

    return TaskManager()


def load_tasks(name: str, folders: list[Path], few_shot: int | None = None, code: bool = False) -> list[Any]:
    """The lm-eval tasks of this name: one, or the members of a group.

    A YAML file in one of the folders wins over lm-eval's own task of the same name; the relative paths of its data
    files start at its folder. Such a file may run Python code of its own only if ``code``; templates of all tasks are
    rendered in a sandbox.

    Raises:
        LlamaNasError: no such task, its data are missing, it asks for generated text, or to run code.
    """
    from lm_eval.tasks import TaskManager

    # Absolute, since the YAML is read from its own folder.
    paths = [str(folder.resolve()) for folder in folders]
    own = TaskManager(include_path=paths, include_defaults=False)
    manager = own if name in own.all_tasks else _lm_evals_own()
    if name not in manager.all_tasks:
        raise LlamaNasError(
            f"there is no task {name!r}: neither a YAML file with 'task: {name}' in {', '.join(map(str, folders))} nor "
            f"one of lm-eval's own. Known in these folders: {', '.join(own.all_tasks) or 'none'}. "
            "`lm-eval ls tasks` lists the rest."
        )
    yaml = manager.task_index[name].yaml_path
    try:
        with contextlib.chdir(yaml.parent if yaml else "."), _guarded(code):
            tasks = list(manager.load(name)["tasks"].values())
    except LlamaNasError:
        raise
    except Exception as error:  # datasets raises many kinds for a missing or broken file
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__  # a library's first words say most
        raise LlamaNasError(
            f"the data of task {name!r} cannot be loaded: {first_line(cause)}. Are its files there, and do "
            f"doc_to_text, doc_to_choice and doc_to_target in {yaml} fit them?"
        ) from error
    for task in tasks:
        if task.OUTPUT_TYPE not in KINDS:
            raise LlamaNasError(f"task {task.task_name!r} is {task.OUTPUT_TYPE!r}; supported are {', '.join(KINDS)}.")
        if few_shot is not None or task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=few_shot or 0)
    return tasks


def require_metric(tasks: list[Any], metric: str) -> None:
    """Refuse a metric that lm-eval does not compute for a multiple-choice task.

    Raises:
        LlamaNasError: a task lacks the metric.
    """
    for task in tasks:
        known = [entry["metric"] for entry in task.config.metric_list or []]
        if task.OUTPUT_TYPE == "multiple_choice" and metric not in known:
            raise LlamaNasError(
                f"lm-eval has no {metric!r} for task {task.task_name!r}, only {', '.join(map(str, known))}. "
                "Change data.metric."
            )


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


def train_questions(tasks: list[Any], tokenizer: Any, max_tokens: int) -> list[dict]:
    """Rows of artifact ``questions`` of the train split alone.

    Raises:
        LlamaNasError: a task has no train split, or is scored on it.
    """
    rows = []
    for task in tasks:
        if not task.config.training_split:
            raise LlamaNasError(f"task {task.task_name!r} of instructions.tasks has no train split.")
        if task.config.training_split == (task.config.test_split or task.config.validation_split):
            raise LlamaNasError(f"task {task.task_name!r} of instructions.tasks is scored on its train split.")
        rows += [row | {"split": "train"} for row in _render(task, task.config.training_split, tokenizer, max_tokens)]
    return rows


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
    """Search or report, by a hash of the item's text, for a task that scores one split alone.

    Worked examples before the question do not count, so that another number of them divides the items alike.
    """
    text = "\x1f".join([row["question_text"], *row["choice_texts"]])
    return ("search", "report")[hashlib.sha256(text.encode()).digest()[0] % 2]


def _render(task: Any, source: str, tokenizer: Any, max_tokens: int) -> Iterable[dict]:
    """The items of one split of the data, with the prompts that lm-eval itself builds.

    Raises:
        LlamaNasError: there is no such split, or the task's templates do not fit its data.
    """
    try:
        yield from _items(task, source, tokenizer, max_tokens)
    except LlamaNasError:
        raise
    except Exception as error:  # jinja, lm-eval and tokenizers each have their own for what does not fit
        raise LlamaNasError(
            f"the split {source!r} of task {task.task_name!r} gives no items ({type(error).__name__}: "
            f"{first_line(error)}); do doc_to_text, doc_to_choice and doc_to_target fit its columns?"
        ) from error


def _items(task: Any, source: str, tokenizer: Any, max_tokens: int) -> Iterable[dict]:
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
        text, parts = _parts(task, documents[index], [request.args for request in of_item], tokenizer, max_tokens)
        name = f"{task.task_name}/{source}/{index}"
        about = {"item": name, "source_split": source, "kind": task.OUTPUT_TYPE, "context_text": text}
        row = {"weight": 1.0, "gold": [0], "question_text": str(task.doc_to_text(documents[index]))} | about | parts
        if not row["branches"]:
            continue  # an empty text
        _check(row, max_tokens)
        yield row


def _check(row: dict, max_tokens: int) -> None:
    """Refuse what no score can be given for.

    Raises:
        LlamaNasError: a choice without tokens or longer than a prompt may be, or a right answer that is no choice.
    """
    if min(row["scored"]) < 1 or max(row["scored"]) > max_tokens:
        raise LlamaNasError(
            f"item {row['item']} has choices of {row['scored']} tokens; expected 1 to data.max_tokens "
            f"({max_tokens}) each. Raise data.max_tokens, or leave the item out of the task's data."
        )
    if not row["gold"] or not all(0 <= gold < len(row["branches"]) for gold in row["gold"]):
        raise LlamaNasError(
            f"item {row['item']} has the right answer {row['gold']}, but its choices are numbered 0 to "
            f"{len(row['branches']) - 1}. Is this split of the data labelled?"
        )


def _parts(task: Any, document: dict, arguments: list[tuple], tokenizer: Any, max_tokens: int) -> tuple[str, dict]:
    """The text that an item begins with, and the columns that hold what is scored."""
    if task.OUTPUT_TYPE == "loglikelihood_rolling":
        (text,) = arguments[0]
        return text, _windows(task, document, text, tokenizer, max_tokens)
    if task.OUTPUT_TYPE == "multiple_choice":
        choices = list(task.doc_to_choice(document))
        arguments = arguments[: len(choices)]  # further ones belong to acc_mutual_info
        about = {"gold": _gold(task, document, choices)}
    else:
        choices, about = [arguments[0][1]], {}
    pairs = [encode_pair(tokenizer, context, choice) for context, choice, *_ in arguments]
    texts = {"lengths": [len(choice) for choice in choices], "choice_texts": choices}
    return arguments[0][0], about | texts | branches(pairs, max_tokens)


def _windows(task: Any, document: dict, text: str, tokenizer: Any, max_tokens: int) -> dict:
    """A whole text in windows of at most ``max_tokens`` tokens, each token predicted once, divided as lm-eval does."""
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    tokens = tokenizer.encode(text)
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    windows = [make_disjoint_window(w) for w in get_rolling_token_windows(tokens, start, max_tokens, 1)]
    metrics = task.process_results(document, [0.0])
    weight = next((metrics[name][1] for name in ("word_perplexity", "byte_perplexity") if name in metrics), 1)
    branches = [[*context, *continuation] for context, continuation in windows]
    scored = [len(continuation) for _, continuation in windows]
    about = {"weight": float(weight), "lengths": scored, "choice_texts": []}
    return about | {"prefix": [], "branches": branches, "scored": scored}


def _gold(task: Any, document: dict, choices: list[str]) -> list[int]:
    gold = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
    answers = gold if isinstance(gold, list) else [gold]
    places = {choice: number for number, choice in reversed([*enumerate(choices)])}
    return [places.get(answer, -1) if isinstance(answer, str) else int(answer) for answer in answers]


def encode_pair(tokenizer: Any, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Tokens of a context and of what follows, divided as lm-eval does: spaces at the seam go to the continuation."""
    encode: Callable[[str], list[int]] = tokenizer.encode
    if not context.strip():
        continuation = context + continuation
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
