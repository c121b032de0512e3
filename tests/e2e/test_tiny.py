"""A whole experiment with a tiny model: every artifact, re-runs, chunks, and what happens when files break."""

import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from llamanas import settings
from llamanas.artifacts import SCHEMAS, provenance_of, read_table
from llamanas.compare import replayed_networks
from llamanas.data.packing import epochs, pack
from llamanas.models.decoder import load_decoder
from llamanas.models.families import read_config, shape_of
from llamanas.provenance import broken_links
from llamanas.randomness import seed_for
from llamanas.select.expected import with_expected
from llamanas.supernet.importance import sensitivity_rows
from llamanas.supernet.space import search_space
from rule_runner import make
from tiny_experiment import write_experiment
from workflow_runner import ROOT, planned_jobs, snakemake

SEARCH = "results/search/tiny_sounds"
PICK = "tiny_sounds/half_way"
TRANSFER = "results/transfer/tiny_sounds.parquet"
GGUF = f"results/benchmark/{PICK}/F16/accuracy.parquet"
CONFIG = "--configfile", "tiny.yaml"
STAGES = "model", "tasks", "instructions", "finetune", "train_supernet", "supernet"
TRAININGS = {"write_examples", "finetune", "rank_importance", "train_supernet", "build_supernet"}


def changed(folder, **sections) -> Path:
    """Configuration of the experiment in ``folder`` with some settings changed."""
    config = yaml.safe_load((folder / "tiny.yaml").read_text())
    for section, values in sections.items():
        config[section] = config.get(section, {}) | values
    (folder / "changed.yaml").write_text(yaml.safe_dump(config))
    return folder / "changed.yaml"


def copy_of_trainings(finished: Path, folder: Path) -> Path:
    """The folder, with all that the finished run made before its search."""
    for stage in STAGES:
        shutil.copytree(finished / "results" / stage, folder / "results" / stage)
    shutil.copytree(finished / ".snakemake/metadata", folder / ".snakemake/metadata")
    shutil.copy(finished / "tiny.yaml", folder)
    return folder


def cut(path: Path, left: int) -> None:
    """Truncate a file behind Snakemake's back: its time stays as it was."""
    times = path.stat()
    path.write_bytes(path.read_bytes()[:left])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_every_parquet_has_its_schema_and_provenance(finished):
    names = set()
    for path in (finished / "results").rglob("*.parquet"):
        stamp = provenance_of(pq.read_table(path, partitioning=None))
        names.add(stamp["artifact"])
        read_table(path, stamp["artifact"])
        assert stamp["seed"] == 7 and stamp["stage"] and stamp["packages"]["llamanas"]
    assert names == SCHEMAS.keys() - {"heats", "latency", "latency_checks", "published", "survivors", "transfer"}


def test_archive_holds_every_measured_architecture_once(finished):
    rows = read_table(finished / SEARCH / "generation-2/archive.parquet", "archive").to_pylist()
    assert len(rows) == 24 == len({row["architecture"] for row in rows})
    assert {row["n_search"] for row in rows} == {40}
    assert {row["origin"] for row in rows} >= {"full", "smallest", "linas"}
    earlier = read_table(finished / SEARCH / "generation-1/archive.parquet", "archive").to_pylist()
    assert rows[:16] == earlier


def test_front_is_not_dominated_and_reported_on_other_items(finished):
    front = read_table(finished / SEARCH / "front.parquet", "front").to_pylist()
    rows = read_table(finished / SEARCH / "generation-2/archive.parquet", "archive").to_pylist()
    shape = shape_of(read_config(finished / "results/supernet/config.json"))
    space = search_space(shape, settings.complete(yaml.safe_load((finished / "tiny.yaml").read_text()))["space"])
    importance = read_table(finished / "results/supernet/importance.parquet", "importance").to_pylist()
    rows = with_expected(rows, space, importance, "search_score", True)
    expected = {row["architecture"]: row["expected_score"] for row in rows}
    for member in front:
        assert member["expected_score"] == expected[member["architecture"]] != member["search_score"]
        assert not any(
            row["parameters"] < member["parameters"] and row["expected_score"] >= member["expected_score"]
            for row in rows
        )
        assert member["n_report"] == 44
        assert member["report_ci_low"] <= member["report_accuracy"] <= member["report_ci_high"]
    questions = read_table(finished / "results/tasks/tiny_sounds/questions.parquet", "questions").to_pylist()
    items = {split: {q["item"] for q in questions if q["split"] == split} for split in ("train", "search", "report")}
    answers = read_table(finished / SEARCH / "answers.parquet", "answers").to_pylist()
    assert {answer["item"] for answer in answers} == items["report"]
    assert not items["report"] & (items["search"] | items["train"])


def test_exported_accuracy_is_that_of_the_exported_network(finished):
    picks = read_table(finished / SEARCH / "picks.parquet", "picks").to_pylist()
    reported = {row["pick"]: row["report_accuracy"] for row in picks}
    healing = finished / "results/heal/tiny_sounds/half_way/healing.parquet"
    (healed,) = read_table(healing, "healing").to_pylist()
    assert healed["accuracy_before"] == pytest.approx(reported["half_way"]) and healed["n"] == 44
    assert healed["difference"] == pytest.approx(healed["accuracy_after"] - healed["accuracy_before"])
    assert healed["full_difference"] == pytest.approx(healed["accuracy_after"] - reported["full"])
    reported["half_way"] = healed["accuracy_after"]
    for pick in ("full", "half_way"):
        path = finished / f"results/benchmark/tiny_sounds/{pick}/fp32/accuracy.parquet"
        (row,) = read_table(path, "accuracy").to_pylist()
        assert row["accuracy"] == pytest.approx(reported[pick]) and row["n"] == 44


def test_every_training_has_its_losses(finished):
    folders = {"finetune": 4, "train_supernet": 12, "heal/tiny_sounds/half_way": 2}  # a row for each network of a step
    for folder, count in folders.items():
        rows = read_table(finished / f"results/{folder}/losses.parquet", "losses").to_pylist()
        assert {row["stage"] for row in rows} == {folder.split("/")[0]} and len(rows) == count
        assert all(row["tokens"] > 0 for row in rows)


def test_examples_come_from_every_source_and_wrong_choices_have_no_label(finished):
    tables = [f"results/instructions/{name}.parquet" for name in ("written", "instructions")]
    written, rows = (read_table(finished / table, Path(table).stem).to_pylist() for table in tables)
    assert len(written) == 4 and all(row in rows for row in written)
    tasks = [row["labelled"] for row in rows if row["source"] == "tiny_sounds"]
    assert len(tasks) == 4 * 48 and sum(tasks) == 48
    assert len(rows) == 4 * 48 + 4 + 1


def test_sensitivities_are_the_super_networks_own(finished):
    folder = finished / "results/supernet"
    examples = read_table(finished / "results/instructions/instructions.parquet", "instructions").to_pylist()
    batch = pack(next(epochs(examples, 128, seed_for(7, "rank_importance", "calibration"))))
    measured = sensitivity_rows(load_decoder(folder), batch, {"intermediate_sizes": [32, 64], "kv_heads": [1]})
    rows = read_table(folder / "importance.parquet", "importance").to_pylist()
    kept, again = ({(r["layer"], r["kind"], r["index"]): r["score"] for r in each} for each in (rows, measured))
    assert again == pytest.approx({key: kept[key] for key in again}, rel=1e-3)
    assert {kind for _, kind, _ in kept} == {"attention", "mlp", "channel", "kv_head"}


def test_summary_and_page_name_what_was_exported(finished):
    rows = read_table(finished / "results/report/summary.parquet", "summary").to_pylist()
    assert {(row["pick"], row["precision"]) for row in rows} == {
        (pick, precision) for pick in ("full", "half_way") for precision in ("fp32", "budget")
    }
    page = (finished / "results/report/index.html").read_text()
    assert "tiny_sounds" in page and "half_way" in page and "<svg" in page
    drawing = ElementTree.parse(finished / "results/report/fronts/tiny_sounds.svg").getroot()
    assert drawing.tag.endswith("svg") and len(drawing.findall(".//{*}path")) > 10


def test_the_deployment_benchmark_measures_the_files_of_a_run(finished, tmp_path):
    """`benchmarks/deployment.py`: accuracy, speed against the full network, and against eager PyTorch."""
    command = [sys.executable, str(ROOT / "benchmarks/deployment.py"), "--supernet", str(finished / "results/supernet")]
    command += ["--tasks", str(finished / "tasks"), "--work", str(tmp_path / "work"), "--results", str(tmp_path)]
    command += ["--networks", "full,1.1", "--contexts", "8", "--new-tokens", "4", "--repeats", "2", "--threads", "1"]
    command += ["--device", "cpu"]
    for case, recipes in {"accuracy": "fp32,dynamic_int8", "speed": "int4_mixed,torch", "eager": "int8"}.items():
        run = subprocess.run([*command, "--case", case, "--recipes", recipes], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr[-3000:]
    rows = pq.read_table(tmp_path / "quantization.parquet").to_pylist()
    assert {(row["pick"], row["recipe"]) for row in rows} == {
        (pick, recipe) for pick in ("full", "ladder 1.1x") for recipe in ("fp32", "dynamic_int8")
    }
    for row in rows:
        assert row["n"] > 40 and row["difference"] == pytest.approx(row["accuracy"] - row["accuracy_fp32"])
        assert row["ci_low"] <= row["accuracy"] <= row["ci_high"]
    rows = pq.read_table(tmp_path / "speed.parquet").to_pylist()
    assert [(row["recipe"], row["baseline"].split(",")[0]) for row in rows] == [
        *[("int4_mixed", "full network"), ("fp32", "full network")] * 2, *[("int8", "full network")] * 2
    ]  # fmt: skip
    assert all(row["file_bytes"] > 0 and row["decode_low"] <= row["decode_speedup"] for row in rows)
    assert all("transformers" in row["baseline"] for row in rows[-2:])


def test_the_evaluation_benchmark_finds_lm_evals_answers(finished):
    """`benchmarks/evaluation.py` on the tiny run: lm-eval's own model on extracted folders, and candidates together."""
    command = [sys.executable, str(ROOT / "benchmarks/evaluation.py"), "--device", "cpu", "--subnets", "2"]
    command += ["--run", str(finished), "--configfile", str(finished / "tiny.yaml"), "--tasks", str(finished / "tasks")]
    command += ["--items", "24", "--cases", "single,exact,population,items,depth,candidates,limit"]
    command += ["--batch-sizes", "8,24"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    keys = {"case", "task", "items", "hardware", "baseline_items_per_s", "items_per_s", "speedup", "same_answers"}
    assert all(line.keys() >= keys | {"max_loglikelihood_difference"} and line["items"] == 24 for line in lines)
    single = [line for line in lines if line["case"] == "single"]
    assert len(single) == 3 and {line["case"] for line in lines} >= {"population", "items", "depth", "limit"}
    for line in single:
        assert line["same_answers"] and line["accuracy"] == line["baseline_accuracy"]
        assert line["max_loglikelihood_difference"] < 1e-3
    exact = [line for line in lines if line["case"] == "exact"]
    assert len(exact) == 3 and all(max(line["error"], line["baseline_error"]) < 1e-3 for line in exact)
    (together,) = (line for line in lines if line["case"] == "population")
    assert together["same_answers"] and together["max_loglikelihood_difference"] == 0
    assert together["sub_layers"] < together["sub_layers_alone"]


def test_second_run_has_nothing_to_do(finished):
    assert "Nothing to be done" in snakemake(finished, *CONFIG).stdout


def test_another_generation_repeats_none(finished):
    plan = planned_jobs(snakemake(finished, "-n", "--configfile", changed(finished, search={"generations": 3})).stdout)
    new = {
        "propose_candidates": 1,
        "evaluate_chunk": 2,
        "collect_generation": 1,
        "expect_scores": 1,
        "evaluate_front": 1,
    }
    assert {name: plan[name] for name in new} == new
    assert not plan.keys() & {"fetch_model", "fetch_task", *TRAININGS}


def test_another_report_setting_does_not_train_again(finished):
    plan = planned_jobs(snakemake(finished, "-n", "--configfile", changed(finished, select={"bootstrap": 300})).stdout)
    assert "select_front" in plan and not plan.keys() & {*TRAININGS, "evaluate_chunk", "evaluate_front"}


@pytest.mark.parametrize("chunks", [1, 3])
def test_tables_are_byte_equal_for_any_number_of_chunks(finished, tmp_path, chunks):
    """The finished run had 2 and a process for each job; here one process does all, in one part or unequal ones."""
    folder = copy_of_trainings(finished, tmp_path)
    made = make(folder, changed(folder, search={"chunks": chunks}), f"{SEARCH}/front.parquet")
    assert not made.keys() & TRAININGS and made["evaluate_chunk"] == 3 * chunks
    for name in ("front.parquet", "picks.parquet", "answers.parquet", "generation-2/archive.parquet"):
        assert (folder / SEARCH / name).read_bytes() == (finished / SEARCH / name).read_bytes(), name


def test_answers_to_every_search_item_are_kept_when_asked(finished, tmp_path):
    folder, archive = copy_of_trainings(finished, tmp_path), f"{SEARCH}/generation-0/archive.parquet"
    make(folder, changed(folder, search={"keep_answers": True}), archive)
    assert (tmp_path / archive).read_bytes() == (finished / archive).read_bytes()
    rows = {row["architecture"]: row for row in read_table(tmp_path / archive, "archive").to_pylist()}
    kept = defaultdict(list)
    for path in (tmp_path / SEARCH / "generation-0/answers").glob("*.parquet"):
        for answer in read_table(path, "answers").to_pylist():
            kept[answer["architecture"]].append(answer)
    assert kept.keys() == rows.keys()
    for name, answers in kept.items():
        assert len({answer["item"] for answer in answers}) == len(answers) == 40
        assert sum(answer["chosen"] in answer["gold"] for answer in answers) / 40 == rows[name]["search_accuracy"]
        assert sum(answer["score"] for answer in answers) / 40 == pytest.approx(rows[name]["search_score"])


@pytest.fixture(scope="module")
def asked(finished, tmp_path_factory) -> tuple[Path, dict[str, int]]:
    """A copy of the finished run with what is off by default, asked for at once; how many jobs of each rule that took.

    Without llama.cpp (the extra `gguf`) no GGUF file is asked for.
    """
    folder = tmp_path_factory.mktemp("asked")
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    training = {"steps": 2, "batch_tokens": 128, "method": "lora", "lora": {"rank": 4, "alpha": 8}}
    config = changed(
        folder,
        baselines={"methods": ["uniform_width"], "ratios": [1.2]} | training,
        export={"variants": ["padded", "deci"], "gguf": ["F16"], "gguf_accuracy": True},
    )
    targets = ["baselines", TRANSFER, *(f"results/{name}/{PICK}/config.json" for name in ("padded", "deci"))]
    targets += [GGUF] * bool(find_spec("cyllama"))
    run = snakemake(folder, *targets, "--configfile", config)
    assert run.returncode == 0, run.stdout[-5000:]
    return folder, planned_jobs(run.stdout)


def test_what_is_asked_for_makes_nothing_else_again(asked):
    further = {"extract_variant": 2} | (
        {"export_gguf": 1, "benchmark_gguf_accuracy": 1} if find_spec("cyllama") else {}
    )
    wanted = {"train_baseline": 1, "measure_references": 1, "baselines": 1, "evaluate_transfer": 1} | further
    assert asked[1] == wanted


def test_baselines_are_made_when_asked(asked):
    folder, _ = asked
    table = read_table(folder / "results/baselines.parquet", "baselines").to_pylist()
    assert [row["method"] for row in table] == ["finetuned", "ours", "pretrained", "uniform_width"]
    for row in table:
        assert (row["task"], row["seed"], row["n"]) == ("tiny_sounds", 7, 44)
        assert row["ci_low"] <= row["accuracy"] <= row["ci_high"]
    finetuned, ours, pretrained, uniform = table
    assert finetuned["size_ratio"] == pretrained["size_ratio"] == 1
    assert ours["size_ratio"] >= 1.2 and uniform["size_ratio"] >= 1.2
    losses = read_table(folder / "results/baselines/uniform_width/1.2/losses.parquet", "losses").to_pylist()
    assert [row["stage"] for row in losses] == ["baseline"] * 2
    assert uniform["training_tokens"] == sum(loss["tokens"] for loss in losses) > 0


def test_transfer_of_a_single_task_is_what_its_search_found(asked):
    folder, _ = asked
    rows = read_table(folder / TRANSFER, "transfer").to_pylist()
    picks = read_table(folder / SEARCH / "picks.parquet", "picks").to_pylist()
    assert [(row["searched"], row["task"], row["pick"]) for row in rows] == [
        ("tiny_sounds", "tiny_sounds", pick["pick"]) for pick in picks
    ]
    for row, pick in zip(rows, picks, strict=True):  # the task's own picks were measured on the same items before
        assert row["report_accuracy"] == pick["report_accuracy"] and row["difference"] == pick["difference"]


def test_further_folders_are_made_when_asked(asked):
    folder, _ = asked
    own, padded = folder / f"results/subnets/{PICK}", folder / f"results/padded/{PICK}"
    assert not [*padded.glob("*.py")] and "Zeros stand here" in (padded / "README.md").read_text()
    config = json.loads((folder / f"results/deci/{PICK}/config.json").read_text())
    assert (
        config["architectures"] == ["DeciLMForCausalLM"] and len(config["block_configs"]) == config["num_hidden_layers"]
    )
    tokens = torch.arange(1, 20)[None]
    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(own, trust_remote_code=True)(tokens).logits
        found = AutoModelForCausalLM.from_pretrained(padded)(tokens).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_gguf_files_are_made_and_answer_when_asked(asked):
    pytest.importorskip("cyllama", reason="needs llama.cpp: pip install -c requirements.lock -e '.[gguf]'")
    folder, _ = asked
    (row,) = read_table(folder / GGUF, "accuracy").to_pylist()
    (exact,) = read_table(folder / f"results/benchmark/{PICK}/fp32/accuracy.parquet", "accuracy").to_pylist()
    assert row["n"] == exact["n"] and abs(row["accuracy"] - exact["accuracy"]) <= 2 / row["n"]  # float16 may tip one
    (folder / f"results/gguf/{PICK}/F16/model.gguf").write_bytes(b"another file")
    assert any("model.gguf" in link for link in broken_links(folder / GGUF, folder))


def test_a_search_for_latency_sees_what_was_measured(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    latency = {"networks": 2, "prompt_tokens": 8, "new_tokens": 3, "repeats": 2}
    timed = changed(folder, search={"second_objective": "latency", "latency": latency})
    run = snakemake(folder, f"{SEARCH}/generation-0/candidates.parquet", "--configfile", timed)
    assert run.returncode == 0, run.stdout[-5000:]
    assert planned_jobs(run.stdout) == {"measure_latency": 1, "propose_candidates": 1}
    parts = {
        (row["part"], row["size"]): row["microseconds"]
        for row in read_table(folder / "results/supernet/latency.parquet", "latency").to_pylist()
    }
    rows = read_table(folder / f"{SEARCH}/generation-0/candidates.parquet", "candidates").to_pylist()
    for row in rows:
        layers = zip(row["kv_heads"], row["intermediate_sizes"], strict=True)
        own = sum(parts["attention", heads] + parts["mlp", width] for heads, width in layers)
        assert row["latency"] == parts["fixed", 0] + own
    assert len(read_table(folder / "results/supernet/latency_checks.parquet", "latency_checks").to_pylist()) == 2


def test_repeated_training_gives_byte_equal_weights_and_tables(finished, tmp_path):
    shutil.copy(finished / "tiny.yaml", tmp_path)
    assert make(tmp_path, tmp_path / "tiny.yaml", "results/supernet/space.parquet").keys() >= TRAININGS
    for path in sorted((tmp_path / "results").rglob("*")):
        if path.suffix in (".parquet", ".safetensors"):
            assert path.read_bytes() == (finished / path.relative_to(tmp_path)).read_bytes(), path


def test_truncated_table_is_named_and_the_rest_stays(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    cut(folder / SEARCH / "expected.parquet", 300)
    made = {"front.parquet", "picks.parquet"}  # Snakemake deletes what the failed job would have written
    kept = {file: file.read_bytes() for file in (folder / "results").rglob("*.parquet") if file.name not in made}
    run = snakemake(folder, f"{SEARCH}/front.parquet", *CONFIG, "--forcerun", "select_front")
    assert run.returncode != 0
    assert f"error: {SEARCH}/expected.parquet is not a readable Parquet file" in run.stdout
    assert {file: file.read_bytes() for file in kept} == kept


def test_truncated_weights_are_named(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    cut(folder / "results/supernet/model.safetensors", -1000)
    run = snakemake(folder, f"{SEARCH}/answers.parquet", *CONFIG, "--forcerun", "evaluate_front")
    assert run.returncode != 0
    assert "error: results/supernet/model.safetensors is damaged" in run.stdout


@pytest.mark.parametrize("family", ["mistral", "qwen2", "qwen3"])
def test_other_families_become_files_that_answer(tmp_path, family):
    config = write_experiment(tmp_path, family, search={"generations": 0, "population": 6}, supernet={"steps": 2})
    accuracy, folder = (
        "results/benchmark/tiny_sounds/half_way/int8/accuracy.parquet",
        "results/subnets/tiny_sounds/half_way",
    )
    make(tmp_path, config, accuracy, f"{folder}/manifest.parquet")
    (row,) = read_table(tmp_path / accuracy, "accuracy").to_pylist()
    assert row["n"] == 44
    model = AutoModelForCausalLM.from_pretrained(tmp_path / folder, trust_remote_code=True)
    assert torch.isfinite(model(torch.arange(1, 20)[None]).logits).all()


def test_racing_spares_items_and_is_the_same_for_any_number_of_chunks(finished, tmp_path):
    archive, tables = f"{SEARCH}/generation-1/archive.parquet", []
    for chunks in (1, 2):
        folder = copy_of_trainings(finished, tmp_path / str(chunks))
        racing = {"racing": True, "racing_items": 0.5, "racing_confidence": 0.3, "chunks": chunks}
        config = changed(folder, search=racing)
        if chunks == 2:  # the rules of a race as Snakemake itself runs them
            run = snakemake(folder, f"{SEARCH}/generation-0/archive.parquet", "--configfile", config)
            assert run.returncode == 0, run.stdout[-5000:]
        make(folder, config, archive)
        tables.append((folder / archive).read_bytes())
    assert tables[0] == tables[1]
    rows = read_table(folder / archive, "archive").to_pylist()
    survivors = [
        row["architecture"]
        for generation in (0, 1)
        for row in read_table(folder / SEARCH / f"generation-{generation}/survivors.parquet", "survivors").to_pylist()
    ]
    assert [row["n_search"] for row in rows] == [40 if row["architecture"] in survivors else 20 for row in rows]
    assert {row["n_search"] for row in rows if row["origin"] == "full"} == {40}
    assert 1 < len(survivors) < len(rows) == 16
    alone = {row["architecture"]: row for row in read_table(finished / archive, "archive").to_pylist()}
    for row in rows[:8]:  # generation 0 is proposed without scores, so it is the same with and without racing
        if row["n_search"] == 40:
            for name in ("search_score", "search_accuracy"):
                assert row[name] == pytest.approx(alone[row["architecture"]][name], abs=1e-6)


def test_a_replay_finds_what_was_published(finished, tmp_path):
    """Trainings on the same machine are equal, and so are then scores and accuracies."""
    folder = copy_of_trainings(finished, tmp_path)
    replay = {"algorithm": "replay", "replay": f"{finished}/results/search/{{task}}/front.parquet"}
    made = make(folder, changed(folder, search=replay), f"{SEARCH}/front.parquet")
    assert made["fetch_published"] == made["propose_candidates"] == 1
    count = read_table(finished / f"{SEARCH}/front.parquet", "front").num_rows
    assert [*replayed_networks(folder)] == [
        (
            f"tiny_sounds agrees within 0: {count} of {count} published networks measured, "
            f"search scores at most 0.0000 apart; accuracies of {count} on the report split at most 0.0 points apart",
            True,
        )
    ]
