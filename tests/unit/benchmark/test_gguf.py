"""The accuracy of a GGUF file, from llama.cpp, is that of the ONNX file of the same network."""

import pytest
from transformers import AutoTokenizer

from conftest import tiny_model
from llamanas.architecture import Architecture
from llamanas.benchmark.accuracy import accuracy_row
from llamanas.benchmark.lm import ExportedModel
from llamanas.benchmark.session import Network
from llamanas.data.tasks import load_tasks, task_questions
from llamanas.export.gguf import write_gguf
from llamanas.export.onnx import write_onnx
from tiny_experiment import write_task, write_tokenizer

pytest.importorskip("cyllama", reason="needs llama.cpp: pip install -c requirements.lock -e '.[gguf]'")

from llamanas.benchmark.gguf import GgufModel, gguf_accuracy_row  # noqa: E402
from llamanas.llamacpp import GgufNetwork  # noqa: E402

MIXED = Architecture((0, 2, 1, 2), (128, 96, 0, 32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf")
    tiny_model("llama", max_position_embeddings=64).save_pretrained(folder)
    write_tokenizer(folder)
    write_task(folder / "tasks")
    write_onnx(folder, MIXED, folder)
    write_gguf(folder, MIXED, folder / "model.gguf", "F32")
    return folder


def test_scores_equal_those_of_the_onnx_file(folder):
    tokens = list(range(5, 60))
    pairs = [
        (tokens[:9], tokens[9:12]),
        (tokens[:9], tokens[20:21]),
        (tokens[:1], tokens[1:50]),
        (tokens, [7]),
    ]  # the last is cut
    own = GgufModel(GgufNetwork(folder / "model.gguf", exact=True), None, 52).score(pairs)
    expected = ExportedModel(Network(folder / "model.onnx"), None, 52).score(pairs)
    for (score, hits), (wanted, wanted_hits) in zip(own, expected, strict=True):
        assert score == pytest.approx(wanted, abs=1e-3) and hits == wanted_hits


def test_accuracy_equals_that_of_the_onnx_file(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tasks = load_tasks("tiny_sounds", [folder / "tasks"], 0)
    items = [item for item in task_questions(tasks, tokenizer, 64, None, None) if item["split"] == "report"]
    own = gguf_accuracy_row(folder / "model.gguf", items, "acc", 0.95, 64)
    expected = accuracy_row(folder / "model.onnx", items, "acc", 0.95, 64)
    differing = sum(a != b for a, b in zip(own["credit"], expected["credit"], strict=True))
    assert differing <= 1  # keys and values are in float16
    assert own["n"] == expected["n"] == len(items)
