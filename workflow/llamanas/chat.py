"""Talk to an exported network: ``python -m llamanas.chat PATH``, a Hugging Face folder, an ONNX or a GGUF file.

Answers are the most likely tokens, so that equal questions get equal answers.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from llamanas.errors import LlamaNasError

PLACES = 2048  # tokens of a conversation


class Talker(NamedTuple):
    """A network to talk to.

    ``generate`` gives the tokens that follow, ``encode`` the tokens of a text as ``template`` (Jinja) or the user made
    it, ``decode`` their text, and ``ends`` whether a token ends an answer.
    """

    generate: Callable[[list[int]], Iterator[int]]
    encode: Callable[[str], list[int]]
    decode: Callable[[list[int]], str]
    ends: Callable[[int], bool]
    template: str | None
    special: dict[str, str]


def open_network(path: Path, tokenizer: Path | None = None, threads: int = 1, trusted: bool = False) -> Talker:
    """The network at a path; code in its folder runs if it is this package's, or ``trusted``.

    Raises:
        LlamaNasError: nothing there can be talked to, what its runtime needs is missing, or it brings other code.
    """
    if path.suffix == ".gguf" and path.is_file():
        return _gguf(path, threads)
    if path.suffix == ".onnx" and path.is_file():
        from llamanas.benchmark.session import Network

        folder = tokenizer or _tokenizer_beside(path)
        return _with_tokenizer(Network(path, threads).generate, folder)
    if (path / "config.json").is_file():
        return _with_tokenizer(_folder(path, threads, trusted), tokenizer or path)
    if inside := [path / name for name in ("model.onnx", "model.gguf") if (path / name).is_file()]:
        return open_network(inside[0], tokenizer, threads)
    raise LlamaNasError(
        f"{path} is nothing to talk to; expected a Hugging Face folder (with config.json), an .onnx or a .gguf file."
    )


def _gguf(path: Path, threads: int) -> Talker:
    from llamanas.llamacpp import GgufNetwork

    network = GgufNetwork(path, threads, PLACES)
    decode = lambda tokens: "".join(map(network.piece, tokens))  # noqa: E731
    return Talker(network.generate, network.encode, decode, network.ends, network.chat_template, {})


def _tokenizer_beside(path: Path) -> Path:
    """The folder with the tokenizer of an ONNX file: its own, or the super-network's of its experiment."""
    folders = [path.parent, *(parent / "supernet" for parent in path.absolute().parents)]
    for folder in folders:
        if (folder / "tokenizer.json").is_file():
            return folder
    raise LlamaNasError(f"no tokenizer.json belongs to {path}; name its folder with --tokenizer.")


def _with_tokenizer(generate: Callable[[list[int]], Iterator[int]], folder: Path) -> Talker:
    from transformers import PreTrainedTokenizerFast

    try:
        own = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # tokenizers raises plain Exception for a damaged file
        raise LlamaNasError(f"the tokenizer in {folder} cannot be read: {error}") from error
    special = {name: str(token) for name, token in own.special_tokens_map.items()}
    return Talker(
        generate,
        lambda text: own(text, add_special_tokens=own.chat_template is None).input_ids,
        lambda tokens: str(own.decode(tokens, skip_special_tokens=True)),
        lambda token: token == own.eos_token_id,
        own.chat_template,
        special,
    )


def _may_run(path: Path) -> bool:
    """Whether what transformers would run of a folder is this package's modeling file, byte for byte.

    Checked is what ``auto_map`` names, that there is no other module which that file could import, and that the folder
    is no adapter, for which transformers would load another folder instead.
    """
    from llamanas.export.huggingface import modeling_code
    from llamanas.models.families import SUPPORTED

    for family in SUPPORTED:
        name = f"modeling_hetero_{family}"
        if [file.name for file in path.glob("*.py")] == [f"{name}.py"]:
            named = json.loads((path / "config.json").read_bytes()).get("auto_map", {}).values()
            own = all(isinstance(entry, str) and entry.split(".")[0] == name for entry in named)
            whole = not (path / "adapter_config.json").exists()
            return own and whole and (path / f"{name}.py").read_bytes() == modeling_code(family).encode()
    return False


def _folder(path: Path, threads: int, trusted: bool) -> Callable[[list[int]], Iterator[int]]:
    """The generator of a Hugging Face folder's network."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    try:
        code = bool(json.loads((path / "config.json").read_bytes()).get("auto_map"))
        if code and not trusted and not _may_run(path):
            raise LlamaNasError(
                f"{path} brings code that is not what this version of llamanas writes. Read it; if you trust it, add "
                "--trust-remote-code."
            )
        model: Any = AutoModelForCausalLM.from_pretrained(path, trust_remote_code=code, local_files_only=True).eval()
    except LlamaNasError:
        raise
    except Exception as error:  # transformers has no class of its own for what may be wrong
        raise LlamaNasError(f"{path} cannot be loaded: {error}") from error

    @torch.no_grad()
    def generate(tokens: list[int]) -> Iterator[int]:
        found = model(torch.tensor([tokens]), use_cache=True, logits_to_keep=1)
        while True:
            following = int(found.logits[0, -1].argmax())
            yield following
            found = model(torch.tensor([[following]]), past_key_values=found.past_key_values, use_cache=True)

    return generate


def prompt_of(network: Talker, messages: list[dict]) -> str:
    """The conversation as the text that the network continues: by its chat template, or the bare words without one."""
    if not network.template:
        return "\n".join(message["content"] for message in messages)
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    try:
        template = environment.from_string(network.template)
        return template.render(messages=messages, add_generation_prompt=True, **network.special)
    except TemplateError as error:
        raise LlamaNasError(f"the network's chat template cannot be used: {error}") from error


def answer(network: Talker, messages: list[dict], limit: int) -> Iterator[str]:
    """The answer to a conversation, piece by piece as it is computed, of at most ``limit`` tokens.

    Raises:
        LlamaNasError: the conversation does not fit.
    """
    tokens = network.encode(prompt_of(network, messages))
    if not tokens:
        raise LlamaNasError("the prompt is empty; expected some words.")
    if len(tokens) + limit > PLACES:
        raise LlamaNasError(f"the conversation has {len(tokens)} tokens; at most {PLACES - limit} fit. Start again.")
    found: list[int] = []
    told = ""
    for token in islice(network.generate(tokens), limit):
        if network.ends(token):
            break
        found.append(token)
        text = network.decode(found)
        if not text.endswith("\ufffd"):  # else a character whose bytes are not all there
            yield text[len(told) :]
            told = text


def main(arguments: list[str] | None = None) -> None:
    """Answer one prompt, or talk until the input ends."""
    parser = argparse.ArgumentParser(prog="python -m llamanas.chat", description=__doc__)
    parser.add_argument("path", type=Path, help="Hugging Face folder, or an ONNX or GGUF file or its folder")
    parser.add_argument("--prompt", help="answer this and end")
    parser.add_argument("--tokens", type=int, default=256, help="longest answer (default: %(default)s)")
    parser.add_argument("--tokenizer", type=Path, help="folder with tokenizer.json, where the network has none beside")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code in the folder that is not our own")
    given = parser.parse_args(arguments)
    try:
        network = open_network(given.path, given.tokenizer, given.threads, given.trust_remote_code)
        messages: list[dict] = []
        for text in [given.prompt] if given.prompt is not None else _typed():
            messages.append({"role": "user", "content": text})
            pieces = []
            for piece in answer(network, messages, given.tokens):
                print(piece, end="", flush=True)
                pieces.append(piece)
            print()
            messages.append({"role": "assistant", "content": "".join(pieces)})
    except LlamaNasError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print()


def _typed() -> Iterator[str]:
    """What the user types, until the input ends."""
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            return
        if text:
            yield text


if __name__ == "__main__":
    main()
