"""lm-eval tasks as items: splits, prompts and scores as lm-eval's own."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from conftest import tiny_model
from llamanas.architecture import Architecture
from llamanas.data.tasks import load_tasks, require_metric, task_questions, train_questions
from llamanas.errors import LlamaNasError
from llamanas.export.huggingface import write_folder
from llamanas.models.decoder import load_decoder
from llamanas.search.judge import Judge
from llamanas.search.lm import SubnetModel, related
from llamanas.search.score import Scorer
from tiny_experiment import write_task, write_tokenizer


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("task")
    tiny_model("llama").save_pretrained(folder / "base")
    write_tokenizer(folder / "base")
    write_task(folder / "tasks")
    return folder


@pytest.fixture(scope="module")
def tokenizer(home):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(home / "base")


def variant(home, folder, name: str, **changes):
    """The tiny task under another name with some settings changed."""
    task = yaml.safe_load((home / "tasks/tiny_sounds.yaml").read_text())
    files = {split: str(home / "tasks" / file) for split, file in task["dataset_kwargs"]["data_files"].items()}
    task = task | {"task": name, "dataset_kwargs": {"data_files": files}} | changes
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(task))
    return folder


KINDS = {
    "multiple_choice": {},
    "loglikelihood": {
        "output_type": "loglikelihood",
        "doc_to_choice": None,
        "doc_to_target": " {{['loud', 'soft', 'high', 'low'][answer]}} voice",
        "metric_list": [{"metric": "perplexity"}, {"metric": "acc"}],
    },
    "loglikelihood_rolling": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_choice": None,
        "doc_to_target": "{{question}}. {{question}}! So it is, and {{question}}.",
        "metric_list": [{"metric": "word_perplexity"}, {"metric": "byte_perplexity"}],
    },
}
WINDOW = 24  # tokens: a rolling text has several windows


def lm_eval_says(model, name: str, folder, few_shot: int):
    """Samples and metrics of lm-eval's own evaluation."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    tasks, manager = load_tasks(name, [folder], few_shot), TaskManager(include_defaults=False)  # its own take seconds
    result = simple_evaluate(model, tasks=tasks, log_samples=True, bootstrap_iters=0, task_manager=manager)
    return {sample["doc_id"]: sample for sample in result["samples"][name]}, result["results"][name]


@pytest.mark.parametrize("few_shot", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_same_scores_as_lm_eval(home, tokenizer, tmp_path, kind, few_shot):
    """lm-eval with transformers' model, lm-eval with our model, and our own scoring agree on every item."""
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM

    folder, longest = variant(home, tmp_path, "tiny_kind", **KINDS[kind]), WINDOW if "rolling" in kind else 256
    reference = AutoModelForCausalLM.from_pretrained(home / "base")
    expected, metrics = lm_eval_says(
        HFLM(reference, tokenizer=tokenizer, batch_size=4, max_length=longest), "tiny_kind", folder, few_shot
    )
    decoder = load_decoder(home / "base")
    own, own_metrics = lm_eval_says(SubnetModel(decoder, tokenizer, longest), "tiny_kind", folder, few_shot)

    items = task_questions(load_tasks("tiny_kind", [folder], few_shot), tokenizer, longest, None, None)
    items = [item for item in items if item["split"] == "report"]
    values = Scorer(decoder, items).score([decoder.shape.full], {})[decoder.shape.full.id]
    rows = Judge(items, "acc").answers(decoder.shape.full, values)
    assert len(rows) == len(expected) == len(own) == 48
    for row, item in zip(rows, items, strict=True):
        index = int(row["item"].split("/")[-1])
        results = [[float(np.ravel(r[0])[0]) for r in samples[index]["resps"]] for samples in (expected, own)]
        assert results[1] == pytest.approx(results[0], abs=1e-3)
        scored = [sum(row["loglikelihoods"])] if "rolling" in kind else row["loglikelihoods"]
        assert scored == pytest.approx(results[0], abs=1e-3)
        if "rolling" in kind:
            assert len(item["branches"]) > 1 and item["weight"] == expected[index]["word_perplexity"][1]
        else:
            assert row["credit"] == expected[index]["acc"] == own[index]["acc"]
    for name, value in metrics.items():
        if isinstance(value, float):
            assert own_metrics[name] == pytest.approx(value, rel=1e-4), name


def test_splits_are_the_tasks_own(home, tokenizer):
    items = task_questions(load_tasks("tiny_sounds", [home / "tasks"]), tokenizer, 256, 10, None)
    counts = {split: sum(item["split"] == split for item in items) for split in ("train", "search", "report")}
    assert counts == {"train": 48, "search": 10, "report": 48}
    assert {item["source_split"] for item in items if item["split"] == "report"} == {"test"}
    fewer = task_questions(load_tasks("tiny_sounds", [home / "tasks"]), tokenizer, 256, 5, None)
    chosen = [{item["item"] for item in some if item["split"] == "search"} for some in (fewer, items)]
    assert chosen[0] < chosen[1]


@pytest.mark.parametrize("kind", KINDS)
def test_train_questions_are_the_train_split_of_all_questions(home, tokenizer, tmp_path, kind):
    folder = variant(home, tmp_path, "tiny_kind", **KINDS[kind])
    tasks = load_tasks("tiny_kind", [folder], 0)
    rows = train_questions(tasks, tokenizer, 256)
    assert len(rows) == 48
    everything = task_questions(tasks, tokenizer, 256, None, None)
    assert rows == [item for item in everything if item["split"] == "train"]


def test_training_data_without_a_train_split_are_named(home, tokenizer, tmp_path):
    tasks = load_tasks("tiny_untrained", [variant(home, tmp_path, "tiny_untrained", training_split=None)])
    with pytest.raises(LlamaNasError, match=r"'tiny_untrained' of instructions\.tasks has no train split"):
        train_questions(tasks, tokenizer, 256)


def test_a_task_that_is_scored_on_its_train_split_is_not_trained_on(home, tokenizer, tmp_path):
    folder = variant(home, tmp_path, "tiny_same", validation_split=None, test_split="train")
    with pytest.raises(LlamaNasError, match="'tiny_same' of instructions.tasks is scored on its train split"):
        train_questions(load_tasks("tiny_same", [folder]), tokenizer, 256)


def test_one_scored_split_is_divided_by_hash(home, tokenizer, tmp_path):
    folder = variant(home, tmp_path, "tiny_single", test_split=None)
    items = task_questions(load_tasks("tiny_single", [folder]), tokenizer, 256, None, None)
    parts = {split: {item["item"] for item in items if item["split"] == split} for split in ("search", "report")}
    assert len(parts["search"] | parts["report"]) == 48 and not parts["search"] & parts["report"]
    assert min(map(len, parts.values())) > 12


def test_folder_may_be_relative(home, monkeypatch):
    monkeypatch.chdir(home)
    (task,) = load_tasks("tiny_sounds", [Path("tasks")])
    assert len(task.dataset["test"]) == 48


def test_unknown_task_is_named(home):
    with pytest.raises(LlamaNasError, match="there is no task 'no_such_task'.*tiny_sounds"):
        load_tasks("no_such_task", [home / "tasks"])


def test_missing_data_are_named(home, tmp_path):
    missing = {"data_files": {split: "nowhere.parquet" for split in ("train", "validation", "test")}}
    folder = variant(home, tmp_path, "tiny_missing", dataset_kwargs=missing)
    with pytest.raises(LlamaNasError, match=r"the data of task 'tiny_missing' cannot be loaded.*nowhere\.parquet"):
        load_tasks("tiny_missing", [folder])


def test_truncated_data_are_named(home, tmp_path):
    (tmp_path / "cut.parquet").write_bytes((home / "tasks/test.parquet").read_bytes()[:200])
    files = {"data_files": {split: "cut.parquet" for split in ("train", "validation", "test")}}
    folder = variant(home, tmp_path, "tiny_cut", dataset_kwargs=files)
    with pytest.raises(LlamaNasError, match="the data of task 'tiny_cut' cannot be loaded"):
        load_tasks("tiny_cut", [folder])


def test_generation_task_is_refused(home, tmp_path):
    folder = variant(
        home, tmp_path, "tiny_generation", output_type="generate_until", metric_list=[], doc_to_choice=None
    )
    with pytest.raises(LlamaNasError, match="'generate_until'; supported are multiple_choice, loglikelihood"):
        load_tasks("tiny_generation", [folder])


def test_related_contexts_are_scored_together():
    question, other = [1, 2, 3, 4], [1, 9, 9, 9, 9]
    pairs = [(question, [5]), (question, [6, 7]), ([1, 2, 3, 8], [5]), (other, [5])]
    assert related(pairs) == [pairs[:3], pairs[3:]]
    long = [([1] * 1000 + [number], [5] * 9) for number in range(6)]
    groups = related(long)
    assert sum(groups, []) == long and [len(group) for group in groups] == [3, 3]


def test_items_that_cannot_be_scored_are_named(home, tokenizer, tmp_path):
    def questions(name: str, max_tokens: int = 256, **changes):
        return task_questions(
            load_tasks(name, [variant(home, tmp_path, name, **changes)]), tokenizer, max_tokens, None, None
        )

    with pytest.raises(LlamaNasError, match=r"item tiny_unlabelled/train/\d+ has the right answer \[-1\]"):
        questions("tiny_unlabelled", doc_to_target="{{ -1 }}")
    with pytest.raises(LlamaNasError, match="right answer"):
        questions("tiny_unknown", doc_to_target="no such choice")
    with pytest.raises(LlamaNasError, match=r"has choices of \[\d+, .* tokens; expected 1 to data.max_tokens \(16\)"):
        questions("tiny_long", 16, doc_to_choice=["loud " * 30, "soft"], doc_to_target="{{0}}")


def test_a_metric_that_the_task_lacks_is_named(home):
    tasks = load_tasks("tiny_sounds", [home / "tasks"])
    require_metric(tasks, "acc")
    with pytest.raises(LlamaNasError, match="lm-eval has no 'acc_norm' for task 'tiny_sounds', only acc"):
        require_metric(tasks, "acc_norm")


def test_worked_examples_do_not_move_items_between_splits(home, tokenizer, tmp_path):
    folder = variant(home, tmp_path, "tiny_single", test_split=None)
    splits = []
    for few_shot in (0, 2):
        items = task_questions(load_tasks("tiny_single", [folder], few_shot), tokenizer, 256, None, None)
        splits.append({item["item"]: item["split"] for item in items})
    assert splits[0] == splits[1]


@pytest.mark.parametrize("metric", ["acc", "acc_norm"])
def test_extracted_subnetwork_in_lm_evals_own_model_gives_the_same_answers(home, tokenizer, tmp_path, metric):
    from lm_eval.models.huggingface import HFLM

    shape = load_decoder(home / "base").shape
    architecture = Architecture((2, 0, 1, 0), (96, 32, 0, 64))
    write_folder(home / "base", architecture, tmp_path / "subnet", "unknown")
    metrics = [{"metric": "acc"}, {"metric": "acc_norm"}]
    folder = variant(
        home, tmp_path, "tiny_metrics", metric_list=metrics, doc_to_choice=["loud", "softly", "high", "lo"]
    )
    model = HFLM(str(tmp_path / "subnet"), trust_remote_code=True, batch_size=4, device="cpu")
    expected, results = lm_eval_says(model, "tiny_metrics", folder, 0)
    items = task_questions(load_tasks("tiny_metrics", [folder], 0), tokenizer, 256, None, None)
    items = [item for item in items if item["split"] == "report"]
    values = Scorer(load_decoder(home / "base"), items).score([shape.full, architecture], {})
    for row in Judge(items, metric).answers(architecture, values[architecture.id]):
        sample = expected[int(row["item"].split("/")[-1])]
        assert row["loglikelihoods"] == pytest.approx([float(r[0][0]) for r in sample["resps"]], abs=1e-3)
        assert row["credit"] == sample[metric]
    assert (
        Judge(items, metric).means(architecture, values[architecture.id])["search_accuracy"]
        == results[f"{metric},none"]
    )
