"""What an experiment will take: plan, needs and measured speed put together."""

import pytest
import yaml

from conftest import tiny_config
from llamanas import artifacts, calibrate, estimate, settings
from llamanas.architecture import ModelShape
from llamanas.calibrate import Speed
from llamanas.data import packing
from llamanas.data.packing import pack
from llamanas.errors import LlamaNasError
from llamanas.resources import Items, Model, need
from tiny_experiment import write_experiment

MODEL = Model.of_shape(ModelShape("llama", 30, 576, 1536, 9, 3, 64, 49152, True))
SPEED = Speed(training=1e11, scoring=2e11, start=10.0, tables=2.0, disk=1e8)
ITEMS = Items(search=100, report=200, tokens=50)


def test_seconds_follow_from_needs_and_speed():
    config = settings.complete({})
    jobs = {"train_supernet": 1, "evaluate_chunk": 12, "report": 1}
    training, evaluation, report = estimate.stages(jobs, config, MODEL, SPEED, 0, ITEMS)
    expected = need("train_supernet", config, MODEL)
    assert training.seconds == pytest.approx(10 + expected.operations / 1e11 + expected.files / 1e8)
    assert evaluation.jobs == 12 and evaluation.seconds > 10 + 4 * 0.6 * 100 * 50 * 2 * MODEL.macs / 2e11
    assert report.seconds == 2.0 and report.disk == 0 and training.disk == 4 * MODEL.parameters


def test_gpus_of_a_training_share_its_work():
    config = settings.complete({"compute": {"processes": 4}})
    (one,) = estimate.stages({"finetune": 1}, settings.complete({}), MODEL, SPEED, 1, ITEMS)
    (four,) = estimate.stages({"finetune": 1}, config, MODEL, SPEED, 1, ITEMS)
    assert (one.gpus, four.gpus) == (1, 4) and four.seconds < one.seconds
    took = {"rule": "finetune", "jobs": 1, "seconds": 36.0, "memory_mb": 1234.5, "gpu_memory_mb": 0}
    text = estimate.table([four], [took])
    assert f"{4 * four.seconds / 3600:.2f}" in text and "0.010" in text.splitlines()[-1]


def test_speed_is_measured_with_the_models_own_layers(tmp_path, monkeypatch):
    monkeypatch.setattr(calibrate, "SECONDS", 0.2)
    monkeypatch.setattr(calibrate, "WRITTEN", 2**22)
    monkeypatch.setattr(calibrate, "_seconds", lambda code: 1.5)
    compute = settings.complete({"compute": {"device": "cpu", "threads": 1}})["compute"]
    speed = calibrate.measure_speed(tiny_config("llama").to_dict(), tmp_path, compute, 256)
    assert speed.training > 1e6 and speed.scoring > 1e6 and speed.disk > 0 and speed.start == 1.5
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("moment, texts", [(0, [1]), (60, [1, 2, 4, 5])])
def test_a_slow_step_is_measured_with_fewer_tokens(tmp_path, monkeypatch, moment, texts):
    items = calibrate._items
    packed, scored = [], []
    monkeypatch.setattr(packing, "pack", lambda some, device: packed.append(len(some)) or pack(some, device))
    monkeypatch.setattr(calibrate, "_items", lambda words: scored.append(len(words)) or items(words))
    monkeypatch.setattr(calibrate, "MOMENT", moment)
    monkeypatch.setattr(calibrate, "_fastest", lambda work, device, seconds: 0.5)
    monkeypatch.setattr(calibrate, "_seconds", lambda code: 1.5)
    compute = settings.complete({"compute": {"device": "cpu", "threads": 1}})["compute"]
    calibrate.measure_speed(tiny_config("llama").to_dict(), tmp_path, compute, 4 * calibrate.TOKENS)
    assert packed == texts and scored == texts[-1:]


def test_items_are_counted_where_tasks_have_been_fetched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = settings.complete({"tasks": ["one"], "data": {"few_shot": 2}})
    assert estimate.counted_items(config) == Items(160, 2000, 3 * 64)
    names = artifacts.SCHEMAS["questions"].names
    empty = dict.fromkeys(names) | {"prefix": [1] * 10, "branches": [[1, 2], [3, 4]], "scored": [2, 2]}
    rows = [
        empty | {"split": split, "item": str(i)} for i, split in enumerate(["search"] * 3 + ["report"] * 5 + ["train"])
    ]
    path = tmp_path / "results/tasks/one/questions.parquet"
    artifacts.write_table(path, "questions", artifacts.table_of("questions", rows), {})
    assert estimate.counted_items(config) == Items(3, 5, 14)


def test_plan_is_that_of_a_run_from_nothing(tmp_path):
    config = write_experiment(tmp_path)
    jobs = estimate.planned([config], tmp_path)
    assert jobs["evaluate_chunk"] == 6 and jobs["fetch_model"] == 1 and "all" not in jobs and "total" not in jobs


def test_unknown_models_and_wrong_settings_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hub.yaml").write_text(yaml.safe_dump({"model": {"source": {"hub": {"repo": "a/b"}}}}))
    with pytest.raises(LlamaNasError, match="Run this first: snakemake results/tasks/"):
        estimate.estimate([tmp_path / "hub.yaml"])
    for text in ("search: {populatoin: 3}", "- 1", "a: b: c"):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(LlamaNasError):
            estimate.estimate([tmp_path / "bad.yaml"])
    with pytest.raises(LlamaNasError, match="not a readable YAML"):
        estimate.estimate([tmp_path / "missing.yaml"])
