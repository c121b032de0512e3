"""What users get wrong in configurations, tasks, models and data: a short message that names the key or the file.

Most are given to the rules' own scripts in this process; a few go through `snakemake` itself.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from conftest import tiny_model
from llamanas import settings
from llamanas.errors import LlamaNasError
from rule_runner import Ended, job_of, run_script
from tiny_experiment import write_task, write_tokenizer
from workflow_runner import snakemake

LINES = 5
DEFAULT = settings.complete({})
MANIFEST = "results/model/manifest.parquet"

CONFIGS = [
    # what is wrong, and a word of the message
    ({"sead": 1}, "'sead'"),
    ({"seed": "one"}, "seed"),
    ({"seed": -1}, "seed"),
    ({"seed": 2405.5}, "seed"),
    ({"seed": 8.0}, "seed"),
    ({"seed": True}, "seed"),
    ({"seed": 2**63}, "seed"),
    ({"seed": float("nan")}, "seed"),
    ({1: 2}, "key 1"),
    ({"search": {"populaton": 4}}, "'populaton'"),
    ({"search": {"population": 3}}, "search.population"),
    ({"search": {"generations": 201}}, "search.generations"),
    ({"search": {"chunks": 0}}, "search.chunks"),
    ({"search": {"algorithm": "grid"}}, "search.algorithm"),
    ({"search": {"score": "accuracy"}}, "search.score"),
    ({"search": None}, "search"),
    ({"search": [1]}, "search"),
    ({"tasks": []}, "tasks"),
    ({"tasks": "arc_easy"}, "tasks"),
    ({"tasks": ["a", "a"]}, "tasks"),
    ({"tasks": ["../x"]}, "tasks.0"),
    ({"tasks": [".."]}, "tasks.0"),
    ({"tasks": ["a/b"]}, "tasks.0"),
    ({"tasks": ["a\n"]}, "tasks.0"),
    ({"tasks": ["a b"]}, "tasks.0"),
    ({"tasks": ["a\0"]}, "tasks.0"),
    ({"groups": {"..": ["piqa"]}}, "groups"),
    ({"groups": {"mine": []}}, "groups.mine"),
    ({"groups": {"mine": ["../x"]}}, "groups.mine.0"),
    ({"results": "../elsewhere"}, "results"),
    ({"results": "a/../../b"}, "results"),
    ({"results": "/absolute"}, "results"),
    ({"results": "logs"}, "results"),
    ({"results": ".snakemake"}, "results"),
    ({"results": ""}, "results"),
    ({"model": {"source": {}}}, "model.source"),
    ({"model": {"source": {"folder": "a", "gguf": "b.gguf"}}}, "model.source"),
    ({"model": {"source": {"folder": ""}}}, "model.source.folder"),
    ({"model": {"source": {"gguf": "model.bin"}}}, "model.source.gguf"),
    ({"model": {"source": {"hub": {"repo": "no-owner"}}}}, "model.source.hub.repo"),
    ({"model": {"source": {"hub": {"repo": "../x"}}}}, "model.source.hub.repo"),
    ({"model": {"source": {"wheel": {"requirement": "x>=1", "sha256": "0" * 64, "file": "f"}}}}, "wheel.requirement"),
    ({"model": {"source": {"wheel": {"requirement": "x==1", "sha256": "0", "file": "f"}}}}, "wheel.sha256"),
    ({"model": {"source": {"wheel": {"requirement": "x==1", "sha256": "0" * 64, "file": "a/../../b"}}}}, "wheel.file"),
    ({"model": {"dtype": "int8"}}, "model.dtype"),
    ({"model": {"trust_remote_code": "yes"}}, "model.trust_remote_code"),
    ({"data": {"metric": "f1"}}, "data.metric"),
    ({"data": {"search_items": 1}}, "data.search_items"),
    ({"data": {"task_code": 1}}, "data.task_code"),
    ({"instructions": {"template": "{question}"}}, "instructions.template"),
    ({"instructions": {"template": "{instruction.__class__}"}}, "instructions.template"),
    ({"instructions": {"template": "{instruction"}}, "instructions.template"),
    ({"instructions": {"max_tokens": 4}}, "instructions.max_tokens"),
    ({"instructions": {"files": "examples.jsonl"}}, "instructions.files"),
    ({"finetune": {"strategy": "alternate"}}, "'strategy'"),
    ({"finetune": {"learning_rate": 0}}, "finetune.learning_rate"),
    ({"finetune": {"warmup": 1.5}}, "finetune.warmup"),
    ({"finetune": {"lora": {"targets": ["lm_head"]}}}, "finetune.lora.targets.0"),
    ({"supernet": {"strategy": "once"}}, "supernet.strategy"),
    ({"heal": {"steps": float("inf")}}, "heal.steps"),
    ({"baselines": {"ratios": [1]}}, "baselines.ratios.0"),
    ({"baselines": {"ratios": [1e20]}}, "baselines.ratios.0"),
    ({"space": {"intermediate_sizes": [100]}}, "space.intermediate_sizes.0"),
    ({"space": {"minimum_depth": 0}}, "space.minimum_depth"),
    ({"select": {"picks": {}}}, "select.picks"),
    ({"select": {"picks": {"A b": {"rule": "knee"}}}}, "select.picks"),
    ({"select": {"picks": {"../x": {"rule": "knee"}}}}, "select.picks"),
    ({"select": {"picks": {"a": {"rule": "best"}}}}, "select.picks.a.rule"),
    ({"select": {"picks": {"half_way": {"rule": "cost_share"}}}}, "select.picks.half_way"),
    ({"select": {"picks": {"full": {"rule": "knee"}, "half_way": {"rule": "knee"}}}}, "select.picks.full"),
    ({"select": {"confidence": 1}}, "select.confidence"),
    ({"export": {"picks": ["nothing"]}}, "export.picks"),
    ({"export": {"precisions": ["int8"]}}, "export.precisions"),
    ({"compute": {"device": "tpu"}}, "compute.device"),
    ({"compute": {"threads": 0}}, "compute.threads"),
    ({"benchmark": {"new_tokens": 1}}, "benchmark.new_tokens"),
]


@pytest.mark.parametrize(("config", "word"), CONFIGS, ids=[str(config)[:60] for config, _ in CONFIGS])
def test_a_wrong_configuration(config, word):
    with pytest.raises(LlamaNasError) as caught:
        settings.complete(config)
    assert word in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 1000


def short(ended: Ended, word: str) -> None:
    """A job's last words are a message of a few lines that has this word, and no traceback."""
    assert ended.status == 1
    message = ended.words[ended.words.rindex("error: ") :].strip()
    assert word in message and len(message.splitlines()) <= LINES, ended.words
    assert "Traceback" not in ended.words


# Models. Each changes a sound folder.


def damaged(name: str, keep: int) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:keep])


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def configured(**values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def infinite(folder: Path) -> None:
    model = tiny_model("llama")
    model.model.norm.weight.data[0] = float("inf")
    model.save_pretrained(folder)


MODELS = [
    (shutil.rmtree, "model.source.folder"),
    (without("config.json"), "config.json"),
    (damaged("config.json", 30), "config.json"),
    (configured(model_type="bert"), "'bert'"),
    (configured(hidden_act="gelu"), "hidden_act"),
    (configured(num_hidden_layers=9), "model.layers.4"),
    (configured(num_hidden_layers="four"), "config.json"),
    (configured(num_attention_heads=0), "config.json"),
    (configured(hidden_size=-64), "config.json"),
    (configured(intermediate_size=96), "different models"),
    (configured(vocab_size=100), "different models"),
    (configured(quantization_config={"bits": 4}), "quantized"),
    (configured(auto_map={"AutoModelForCausalLM": "evil.Model"}), "auto_map"),
    (without("model.safetensors"), "model.safetensors"),
    (damaged("model.safetensors", 5000), "model.safetensors"),
    (damaged("model.safetensors", 0), "model.safetensors"),
    (pickled, "pickled weights"),
    (infinite, "model.norm.weight"),
    (without("tokenizer.json"), "tokenizer"),
    (damaged("tokenizer.json", 200), "tokenizer"),
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """A run's folder with a sound base model, the task `tiny_sounds` and the fetched model."""
    folder = tmp_path_factory.mktemp("sound")
    tiny_model("llama").save_pretrained(folder / "base")
    write_tokenizer(folder / "base")
    write_task(folder / "tasks")
    ended = fetched_model(folder, {"folder": "base"})
    assert ended.status == 0, ended.words
    return folder


@pytest.fixture
def folder(sound, tmp_path, monkeypatch) -> Path:
    for library in ("huggingface_hub.constants", "datasets.config"):
        monkeypatch.setattr(f"{library}.HF_HUB_OFFLINE", True)
    shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
    return tmp_path


def fetched_model(folder: Path, source: dict, config: dict | None = None, **params: object) -> Ended:
    files = {"manifest": "manifest.parquet", "weights": "model.safetensors", "config": "config.json"}
    output = {name: f"results/model/{file}" for name, file in files.items()}
    about = {"source": source, "dtype": "float32", "trust_remote_code": False, "downloads": "downloads"} | params
    config = {"space": {"intermediate_sizes": [32, 64]}} | (config or {})  # of a tiny model
    return run_script(folder, job_of("fetch_model", about, output=output, config=config))


@pytest.mark.parametrize(("spoil", "word"), MODELS)
def test_a_wrong_model(folder, spoil, word):
    spoil(folder / "base")
    short(fetched_model(folder, {"folder": "base"}), word)


@pytest.mark.parametrize(
    "sizes", [{"intermediate_sizes": [64, 256]}, {"kv_heads": [3, 1]}, {"depths": [2, 9]}], ids=str
)
def test_a_space_beyond_the_model_is_told_before_any_training(folder, sizes):
    space = {"intermediate_sizes": [64]} | sizes
    (name,) = sizes
    short(fetched_model(folder, {"folder": "base"}, {"space": space}), f"space.{name}")


def test_a_tokenizer_that_gguf_files_cannot_have_is_told_before_any_training(folder):
    tokenizer = json.loads((folder / "base/tokenizer.json").read_text())
    (folder / "base/tokenizer.json").write_text(json.dumps(tokenizer | {"pre_tokenizer": {"type": "WhitespaceSplit"}}))
    assert fetched_model(folder, {"folder": "base"}).status == 0
    short(fetched_model(folder, {"folder": "base"}, {"export": {"gguf": ["F16"]}}), "export.gguf")


def test_a_family_without_a_deci_variant_is_told_before_any_training(folder):
    tiny_model("qwen3").save_pretrained(folder / "qwen3")
    write_tokenizer(folder / "qwen3", "qwen3")
    alike = {"intermediate_sizes": [], "drop_attention": False}
    for space, refused in ({"intermediate_sizes": [64]}, True), (alike, False), (alike | {"kv_heads": [1]}, False):
        ended = fetched_model(folder, {"folder": "qwen3"}, {"export": {"variants": ["deci"]}, "space": space})
        if refused:
            short(ended, "export.variants")
        else:
            assert ended.status == 0, ended.words


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF\3\0\0\0" + b"\xff" * 64, b"no model at all"])
def test_a_wrong_gguf_file(folder, content):
    (folder / "model.gguf").write_bytes(content)
    short(fetched_model(folder, {"gguf": "model.gguf"}), "model.gguf")


def test_custom_code_of_a_model_is_never_run_unless_trusted(folder):
    """A tokenizer with code of its own: without trust the code is not even imported."""
    (folder / "base/evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w').close()\nclass Tokens: pass\n")
    (folder / "base/tokenizer.json").rename(folder / "base/vocab.json")
    path = folder / "base/tokenizer_config.json"
    path.write_text(json.dumps({"auto_map": {"AutoTokenizer": ["evil.Tokens", None]}}))
    short(fetched_model(folder, {"folder": "base"}), "tokenizer")
    assert not (folder / "ran").exists()
    fetched_model(folder, {"folder": "base"}, trust_remote_code=True)
    assert (folder / "ran").exists()


# Tasks. Each changes a sound YAML file.


def columns(**values: list) -> Callable[[Path], dict]:
    def change(tasks: Path) -> dict:
        pq.write_table(pa.table(values), tasks / "test.parquet")
        return {}

    return change


def file(name: str, content: bytes) -> Callable[[Path], dict]:
    def change(tasks: Path) -> dict:
        (tasks / name).write_bytes(content)
        return {}

    return change


SHELL = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
TASKS = [
    (lambda _: {"task": "another"}, "tiny_sounds"),
    (lambda _: {"output_type": "generate_until"}, "generate_until"),
    (lambda _: {"output_type": "dreaming"}, "tiny_sounds"),
    (lambda _: {"dataset_path": "no_such_format"}, "tiny_sounds"),
    (lambda _: {"dataset_kwargs": {"data_files": {"test": "nowhere.parquet"}}}, "tiny_sounds"),
    (lambda _: {"test_split": "exam"}, "exam"),
    (lambda _: {"doc_to_text": "{{nothing}}"}, "doc_to_text"),
    (lambda _: {"doc_to_text": "{{question"}, "doc_to_text"),
    (lambda _: {"doc_to_text": SHELL}, "unsafe"),
    (lambda _: {"doc_to_choice": "{{question}}"}, "doc_to_choice"),
    (lambda _: {"doc_to_target": "question"}, "right answer"),
    (lambda _: {"metric_list": [{"metric": "f1"}]}, "data.metric"),
    (lambda _: {"num_fewshot": "many"}, "tiny_sounds"),
    (lambda _: {"include": "nowhere.yaml"}, "tiny_sounds"),
    (lambda _: {"doc_to_choice": ["", "a"]}, "doc_to_choice"),
    (columns(question=["a", "b"], answer=[7, 8]), "doc_to_target"),
    (columns(question=["a", "b"], answer=[None, None]), "tiny_sounds"),
    (columns(other=["a", "b"]), "tiny_sounds"),
    (columns(question=[], answer=[]), "tiny_sounds"),
    (file("test.parquet", b"PAR1 no table PAR1"), "tiny_sounds"),
    (file("test.parquet", b""), "tiny_sounds"),
    (file("tiny_sounds.yaml", b"task: [unclosed"), "tiny_sounds"),
    (file("tiny_sounds.yaml", b"- a list"), "tiny_sounds"),
    (file("tiny_sounds.yaml", b"\xff\xfe\x00"), "tiny_sounds"),
]


def fetched_task(folder: Path, task: str = "tiny_sounds", **data: object) -> Ended:
    about = {"data": DEFAULT["data"] | {"task_folders": ["tasks"]} | data, "members": [task]}
    output = {"questions": f"results/tasks/{task}/questions.parquet"}
    return run_script(folder, job_of("fetch_task", about, {"manifest": MANIFEST}, output, task=task))


@pytest.mark.parametrize(("spoil", "word"), TASKS)
def test_a_wrong_task(folder, spoil, word):
    path = folder / "tasks/tiny_sounds.yaml"
    if changes := spoil(folder / "tasks"):
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    short(fetched_task(folder), word)


@pytest.mark.parametrize(
    ("data", "word"),
    [({"task_folders": ["nowhere"]}, "tiny_sounds"), ({"metric": "acc_norm"}, "data.metric"), ({"max_tokens": 16}, "")],
)
def test_a_task_that_the_configuration_does_not_fit(folder, data, word):
    ended = fetched_task(folder, **data)
    if word:
        short(ended, word)
    else:
        assert ended.status == 0


@pytest.mark.parametrize("key", ["process_docs", "doc_to_text", "class", "metric_list"])
def test_code_of_a_task_runs_only_where_it_is_allowed(folder, key):
    (folder / "tasks/evil.py").write_text(
        f"open({str(folder / 'ran')!r}, 'w').close()\ndef run(documents): return documents\n"
    )
    call = "[{metric: !function evil.run}]" if key == "metric_list" else "!function evil.run"
    path = folder / "tasks/tiny_sounds.yaml"
    lines = [line for line in path.read_text().splitlines() if not line.startswith(("doc_to_text", "metric_list", "-"))]
    path.write_text("\n".join([*lines, f"{key}: {call}"]) + "\n")
    short(fetched_task(folder), "data.task_code")
    assert not (folder / "ran").exists()
    fetched_task(folder, task_code=True)
    assert (folder / "ran").exists()


def test_a_metric_of_the_hub_is_not_fetched_and_run(folder):
    (folder / "evil").mkdir()
    (folder / "evil/evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w').close()\n")
    path = folder / "tasks/tiny_sounds.yaml"
    metrics = [{"metric": "acc"}, {"metric": str(folder / "evil"), "hf_evaluate": True}]
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"metric_list": metrics}))
    fetched_task(folder)
    assert not (folder / "ran").exists()


# Examples. Each writes a file.

EXAMPLES = [
    ("a.jsonl", None),
    ("a.jsonl", b'{"instruction": "a"}\n'),
    ("a.jsonl", b'{"output": "a"}\n'),
    ("a.jsonl", b'{"instruction": "a", "output": 3}\n'),
    ("a.jsonl", b'{"instruction": ["a"], "output": "b"}\n'),
    ("a.jsonl", b'{"instruction": "a", "input": 5, "output": "b"}\n'),
    ("a.jsonl", b'["a", "b"]\n'),
    ("a.jsonl", b'{"instruction": "a", "output": "b"\n'),
    ("a.jsonl", b"[" * 100_000),
    ("a.jsonl", b"\xff\xfe\x00\x01"),
    ("a.parquet", b""),
    ("a.parquet", b"PAR1 no table PAR1"),
    ("a.txt", b"Name a sound."),
]


def fetched_instructions(folder: Path, **values: object) -> Ended:
    about = {"data": DEFAULT["data"], "instructions": DEFAULT["instructions"] | values}
    table = "results/tasks/tiny_sounds/questions.parquet"
    output = {"instructions": "results/instructions/instructions.parquet"}
    return run_script(folder, job_of("fetch_instructions", about, {"manifest": MANIFEST, "questions": [table]}, output))


@pytest.mark.parametrize(("name", "content"), EXAMPLES)
def test_wrong_examples(folder, name, content):
    assert fetched_task(folder).status == 0
    if content is not None:
        (folder / name).write_bytes(content)
    short(fetched_instructions(folder, files=[name]), name)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"files": [], "task_train_splits": False}, "nothing to fine-tune on"),
        ({"files": ["tasks"]}, "tasks"),
        ({"files": [], "tasks": ["no_such_task"]}, "no_such_task"),
        ({"files": [], "hub": ["no/such-dataset"]}, "no/such-dataset"),
    ],
)
def test_examples_that_are_not_there(folder, values, word):
    assert fetched_task(folder).status == 0
    short(fetched_instructions(folder, **values), word)


# The model that writes examples: what its chat template does is no one's choice.

CHATS = {
    "repeats the message": "{% for m in messages %}{{ m.content }} {{ m.content }}{% endfor %}",
    "drops the message": "<end>Speak.",
    "is long": "{% for m in messages %}" + "<end>user " * 200 + "{{ m.content }}{% endfor %}",
    "refuses": "{{ raise_exception('a system message is required') }}",
    "is broken": "{% for m in messages %}{{ m.content }}",
}


@pytest.mark.parametrize("template", CHATS.values(), ids=CHATS)
def test_any_chat_template_leaves_all_examples(folder, template):
    from llamanas.data.written import written_rows

    path = folder / "base/tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": template}))
    rows = written_rows(folder / "base", 6, 24, 3, "cpu")
    assert len(rows) == 6 and all(row["answer"] and len(row["prompt"] + row["answer"]) <= 24 for row in rows)


# Through Snakemake itself.


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("tasks: [unclosed", "Config file"),
        ("- a\n- list\n", "Config file"),
        ("tasks: ['..']\n", "tasks.0"),
        ("tasks: [piqa]\nseed: .nan\n", "seed"),
    ],
    ids=["no YAML", "a list", "a path", "no number"],
)
def test_a_wrong_configuration_file(tmp_path, text, word):
    (tmp_path / "bad.yaml").write_text(text)
    run = snakemake(tmp_path, "-n", "--configfile", "bad.yaml")
    assert run.returncode != 0
    assert word in run.stdout and "Traceback" not in run.stdout, run.stdout
    assert len(run.stdout.strip().splitlines()) <= LINES + 8, run.stdout


def test_a_failed_job_says_which_where_and_what_to_try(tmp_path):
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump({"model": {"source": {"folder": "nowhere"}}}))
    run = snakemake(tmp_path, "results/model/model.safetensors", "--configfile", "bad.yaml")
    assert run.returncode != 0 and "Traceback" not in run.stdout, run.stdout
    said = r"rule fetch_model on node \S+\n  error: model.source.folder names nowhere.*\n  log: logs/fetch_model.log\n"
    assert re.search(said, run.stdout), run.stdout
