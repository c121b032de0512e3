"""Talk to an exported network: ``python -m llamanas.chat PATH``, a Hugging Face folder, an ONNX or a GGUF file.

Answers are the most likely tokens, so that equal questions get equal answers.
"""

import argparse
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


def open_network(path: Path, tokenizer: Path | None = None, threads: int = 1) -> Talker:
    """The network at a path.

    Raises:
        LlamaNasError: nothing there can be talked to, or what its runtime needs is missing.
    """
    if path.suffix == ".gguf" and path.is_file():
        return _gguf(path, threads)
    if path.suffix == ".onnx" and path.is_file():
        from llamanas.benchmark.session import Network

        folder = tokenizer or _tokenizer_beside(path)
        return _with_tokenizer(Network(path, threads).generate, folder)
    if (path / "config.json").is_file():
        return _with_tokenizer(_folder(path, threads), tokenizer or path)
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


def _folder(path: Path, threads: int) -> Callable[[list[int]], Iterator[int]]:
    """The generator of a Hugging Face folder's network; its own modeling code, written by this project, is run."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(path, trust_remote_code=True, local_files_only=True).eval()
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
    parser.add_argument("path", type=Path, help="Hugging Face folder, ONNX file or GGUF file")
    parser.add_argument("--prompt", help="answer this and end")
    parser.add_argument("--tokens", type=int, default=256, help="longest answer (default: %(default)s)")
    parser.add_argument("--tokenizer", type=Path, help="folder with tokenizer.json, where the network has none beside")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    given = parser.parse_args(arguments)
    try:
        network = open_network(given.path, given.tokenizer, given.threads)
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
