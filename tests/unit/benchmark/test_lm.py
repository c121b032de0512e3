"""An exported network answers lm-eval as lm-eval's own Hugging Face model does."""

import pytest
import yaml
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import AutoModelForCausalLM, AutoTokenizer

from conftest import tiny_model
from llamanas.benchmark.accuracy import accuracy_row
from llamanas.benchmark.lm import ExportedModel
from llamanas.benchmark.session import Network
from llamanas.data.tasks import load_tasks, task_questions
from llamanas.export.onnx import write_onnx
from llamanas.models.decoder import load_decoder
from llamanas.models.families import read_config, shape_of
from llamanas.search.judge import Judge
from llamanas.search.score import Scorer
from tiny_experiment import write_task, write_tokenizer

PAIRS = [
    ("Animal 3: the cat sounds", " loud"),
    ("Animal 3: the cat sounds", " very soft and low"),
    ("Animal 3: the cat sounds", " soft"),
    ("A hen, ", "high"),  # the space at the seam goes to the continuation
    ("", "an owl"),
    ("It is " * 80, "low"),
    ("The pig is here and the rat is not there", " at all, or is it?"),
]


@pytest.fixture(scope="module", params=["llama", "mistral"])
def folder(request, tmp_path_factory):
    """A model that sees all of a text, with its tokenizer, its ONNX network and a task."""
    folder = tmp_path_factory.mktemp(request.param)
    window = {"sliding_window": None} if request.param == "mistral" else {}
    tiny_model(request.param, max_position_embeddings=64, **window).save_pretrained(folder)
    write_tokenizer(folder)
    write_task(folder / "tasks")
    write_onnx(folder, shape_of(read_config(folder / "config.json")).full, folder)
    return folder


@pytest.fixture(scope="module")
def models(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    reference = HFLM(AutoModelForCausalLM.from_pretrained(folder), tokenizer=tokenizer, batch_size=1, device="cpu")
    return ExportedModel(Network(folder / "model.onnx"), tokenizer, 64), reference


def requests(kind: str, arguments: list[tuple]) -> list[Instance]:
    return [Instance(kind, {}, pair, index) for index, pair in enumerate(arguments)]


def test_loglikelihoods_equal_lm_eval(models):
    own, reference = (model.loglikelihood(requests("loglikelihood", PAIRS)) for model in models)
    for (score, greedy), (expected, expected_greedy) in zip(own, reference, strict=True):
        assert score == pytest.approx(expected, abs=1e-4)
        assert greedy == expected_greedy


def test_batches_change_nothing(models, monkeypatch):
    whole = models[0].loglikelihood(requests("loglikelihood", PAIRS))
    monkeypatch.setattr("llamanas.benchmark.lm.ROWS", 1)
    alone = models[0].loglikelihood(requests("loglikelihood", PAIRS))
    assert [score for score, _ in alone] == pytest.approx([score for score, _ in whole], abs=1e-4)


def test_rolling_loglikelihoods_equal_lm_eval(models):
    texts = [("Animal 3: the cat sounds loud. " * 8,), ("short",)]
    own, reference = (model.loglikelihood_rolling(requests("loglikelihood_rolling", texts)) for model in models)
    assert own == pytest.approx(reference, abs=1e-3)


def test_generated_texts_equal_lm_eval(models):
    settings = [{"until": ["e"], "max_gen_toks": 12}, {"until": ["<end>"], "max_gen_toks": 5}]
    arguments = [("The cat is", settings[0]), ("Animal 3:", settings[1])]
    own, reference = (model.generate_until(requests("generate_until", arguments)) for model in models)
    assert own == reference


@pytest.mark.parametrize("few_shot", [0, 2])
def test_accuracy_equals_lm_evals_own_model_and_ours(folder, models, few_shot):
    """lm-eval with transformers' network, lm-eval with the exported one, and the stored tokens: the same answers."""
    tasks = load_tasks("tiny_sounds", [folder / "tasks"], few_shot)
    longest = models[0].max_length
    items = [i for i in task_questions(tasks, models[0].tokenizer, longest, None, None) if i["split"] == "report"]
    row = accuracy_row(folder / "model.onnx", items, "acc", 0.95, longest)
    for model in models:
        tasks = load_tasks("tiny_sounds", [folder / "tasks"], few_shot)
        manager = TaskManager(include_defaults=False)
        results = simple_evaluate(model, tasks=tasks, bootstrap_iters=0, task_manager=manager)
        expected = {sample["doc_id"]: sample["acc"] for sample in results["samples"]["tiny_sounds"]}
        assert row["credit"] == [expected[int(item["item"].split("/")[-1])] for item in items]
    assert row["n"] == 48 and row["accuracy"] == sum(row["credit"]) / 48
    assert row["accuracy_ci_low"] <= row["accuracy"] <= row["accuracy_ci_high"]


def test_credit_of_a_rolling_text_equals_the_super_networks(folder, models, tmp_path):
    task = yaml.safe_load((folder / "tasks/tiny_sounds.yaml").read_text()) | {
        "task": "tiny_rolling", "output_type": "loglikelihood_rolling", "doc_to_choice": None, "doc_to_text": "",
        "doc_to_target": "{{question}}, and that is what we hear.", "metric_list": [{"metric": "word_perplexity"}],
    }  # fmt: skip
    files = {split: str(folder / "tasks" / file) for split, file in task["dataset_kwargs"]["data_files"].items()}
    (tmp_path / "rolling.yaml").write_text(yaml.safe_dump(task | {"dataset_kwargs": {"data_files": files}}))
    tasks = load_tasks("tiny_rolling", [tmp_path])
    items = [i for i in task_questions(tasks, models[0].tokenizer, 16, None, 4) if i["split"] == "report"]
    decoder = load_decoder(folder)
    architecture = decoder.shape.full
    values = Scorer(decoder, items).score([architecture], {})[architecture.id]
    row = accuracy_row(folder / "model.onnx", items, "acc", 0.95, 16)
    assert row["n"] == 4 and row["credit"] == Judge(items, "acc")(values).credit.tolist()
