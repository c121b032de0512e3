"""Talking to each kind of exported file: the answer is what the network finds most likely."""

import io
import json
import shutil

import pytest
import transformers
from transformers import AutoModelForCausalLM

from checkpoints import tiny_tokenizer
from conftest import tiny_model
from llamanas import chat
from llamanas.architecture import Architecture
from llamanas.export.gguf import write_gguf
from llamanas.export.huggingface import write_folder
from llamanas.export.onnx import write_onnx

MIXED = Architecture((2, 0, 2, 2), (96, 32, 0, 128))
PATHS = {"folder": "cut", "onnx": "model.onnx", "gguf": "model.gguf"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One sub-network in all formats, and what it answers."""
    folder = tmp_path_factory.mktemp("chat")
    tiny_model("llama").save_pretrained(folder)
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path_factory.mktemp("modules")))
        write_folder(folder, MIXED, folder / "cut", "mit")
        write_onnx(folder, MIXED, folder)
        write_gguf(folder, MIXED, folder / "model.gguf", "F32")
        model = AutoModelForCausalLM.from_pretrained(folder / "cut", trust_remote_code=True).eval()
        inputs = tokenizer.apply_chat_template([{"role": "user", "content": "1990 cats"}], return_tensors="pt")
        inputs = inputs["input_ids"] if not hasattr(inputs, "shape") else inputs
        found = model.generate(inputs, max_new_tokens=8, do_sample=False)[0, inputs.shape[1] :]
        yield folder, tokenizer.decode(found, skip_special_tokens=True)


@pytest.mark.parametrize("kind", PATHS)
def test_one_prompt_is_answered(made, kind, capsys):
    if kind == "gguf":
        pytest.importorskip("cyllama", reason="needs llama.cpp: pip install -c requirements.lock -e '.[gguf]'")
    folder, expected = made
    chat.main([str(folder / PATHS[kind]), "--prompt", "1990 cats", "--tokens", "8"])
    told = capsys.readouterr().out.removesuffix("\n")
    # Bytes of half a character are shown as one sign each, or not at all.
    assert told and told.replace("\ufffd", "").startswith(expected.replace("\ufffd", "")[: len(told)])


def test_the_folder_of_a_file_stands_for_it(made, tmp_path, capsys):
    for name in ("model.onnx", "model.onnx.data", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(made[0] / name, tmp_path)
    told = []
    for path in (tmp_path, tmp_path / "model.onnx"):
        chat.main([str(path), "--prompt", "1990 cats", "--tokens", "4"])
        told.append(capsys.readouterr().out)
    assert told[0] == told[1] and told[0].strip()


def test_a_conversation_goes_on_until_the_input_ends(made, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("1990 cats\n\nagain\n"))
    chat.main([str(made[0] / "cut"), "--tokens", "2"])
    assert capsys.readouterr().out.count(">") >= 4


@pytest.mark.parametrize(
    ("path", "words"), [("nothing", "nothing to talk to"), ("broken.onnx", "tokenizer.json"), ("lost.gguf", "nothing")]
)
def test_what_cannot_be_talked_to_is_named(tmp_path, path, words):
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(SystemExit, match=words):
        chat.main([str(tmp_path / path), "--prompt", "x"])


def test_a_conversation_that_is_too_long_is_refused(made):
    with pytest.raises(SystemExit, match="at most"):
        chat.main([str(made[0] / "cut"), "--prompt", "cats " * 3000])


def foreign_module(folder, mark):
    (folder / "modeling_hetero_llama.py").write_text(f"open({str(mark)!r}, 'w').close()\n")


def one_byte_more(folder, mark):
    path = folder / "modeling_hetero_llama.py"
    path.write_text(path.read_text() + f"\nopen({str(mark)!r}, 'w').close()\n")


def code_under_another_name(folder, mark):
    (folder / "other.py").write_text((folder / "modeling_hetero_llama.py").read_text() + f"open({str(mark)!r}, 'w')\n")
    rename_code(folder, "other")


def code_of_another_repository(folder, mark):
    rename_code(folder, "someone/else--modeling_hetero_llama")


def adapter_of_another_folder(folder, mark):
    base = folder.parent / "base"
    shutil.copytree(folder, base)
    one_byte_more(base, mark)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))


FOREIGN = [
    foreign_module, one_byte_more, code_under_another_name, code_of_another_repository, adapter_of_another_folder
]  # fmt: skip


def rename_code(folder, name):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["auto_map"] = {key: f"{name}.{value.split('.')[-1]}" for key, value in config["auto_map"].items()}
    path.write_text(json.dumps(config))


@pytest.mark.parametrize("change", FOREIGN)
def test_code_of_others_is_not_run_unasked(made, tmp_path, change):
    shutil.copytree(made[0] / "cut", tmp_path / "cut")
    change(tmp_path / "cut", tmp_path / "ran")
    with pytest.raises(SystemExit, match="--trust-remote-code"):
        chat.main([str(tmp_path / "cut"), "--prompt", "x"])
    assert not (tmp_path / "ran").exists()


def test_code_of_others_runs_when_asked(made, tmp_path, capsys):
    shutil.copytree(made[0] / "cut", tmp_path / "cut")
    one_byte_more(tmp_path / "cut", tmp_path / "ran")
    chat.main([str(tmp_path / "cut"), "--prompt", "1990 cats", "--tokens", "2", "--trust-remote-code"])
    assert (tmp_path / "ran").exists()
