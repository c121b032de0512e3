"""The tokenizer of a Hugging Face folder as the keys of a GGUF file."""

import json
from pathlib import Path
from typing import Any

import gguf
from gguf import TokenType
from transformers import PreTrainedTokenizerFast

from llamanas.errors import LlamaNasError
from llamanas.models.gguf import SPLITTINGS

# Texts that the known splittings cut differently: digits, contractions, spaces, signs, other scripts.
_PROBES = (
    "In 1990 there were 123 cats, 12345 or 7",
    "it's  WE'LL\n\n\t2024\u5e74 na\u00efve (or snake_case) x+1=2. ",
    " costs $1,234.50\r\n\r\n  Yes!!!",
)


def add_vocabulary(writer: gguf.GGUFWriter, folder: Path, size: int) -> None:
    """Write the tokenizer in ``folder`` into a GGUF file whose network has ``size`` tokens.

    Raises:
        LlamaNasError: the folder has no tokenizer, or one that llama.cpp does not reproduce.
    """
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # tokenizers raises plain Exception for a damaged file
        raise LlamaNasError(f"the tokenizer in {folder} cannot be read: {error}") from error
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    model = backend["model"]
    if model["type"] != "BPE":
        raise LlamaNasError(f"{folder} has a tokenizer of type {model['type']}, which is not exported to GGUF; BPE is.")
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    tokens, kinds = _tokens(tokenizer, size)
    if model.get("byte_fallback"):
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_scores(_scores(tokens, merges))
        writer.add_add_space_prefix("Prepend" in json.dumps([backend["normalizer"], backend["pre_tokenizer"]]))
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(_splitting(tokenizer, folder))
        writer.add_token_merges(merges)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    _add_special(writer, tokenizer)


def _tokens(tokenizer: PreTrainedTokenizerFast, size: int) -> tuple[list[str], list[TokenType]]:
    """Every token of the network and what it is; those that the tokenizer does not know are unused."""
    known = {index: token for token, index in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    tokens, kinds = [], []
    for index in range(size):
        token = known.get(index)
        tokens.append(f"[PAD{index}]" if token is None else token)
        if token is None:
            kinds.append(TokenType.UNUSED)
        elif index == tokenizer.unk_token_id and index not in added:
            kinds.append(TokenType.UNKNOWN)
        elif index in added:
            kinds.append(TokenType.CONTROL if added[index].special else TokenType.USER_DEFINED)
        elif len(token) == 6 and token.startswith("<0x"):
            kinds.append(TokenType.BYTE)
        else:
            kinds.append(TokenType.NORMAL)
    return tokens, kinds


def _scores(tokens: list[str], merges: list[str]) -> list[float]:
    """Scores by which sentencepiece merges in the order of the merges: the earlier, the higher."""
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        ranks.setdefault(merge.replace(" ", ""), rank)
    return [-float(ranks.get(token, len(merges))) for token in tokens]


def _splitting(tokenizer: PreTrainedTokenizerFast, folder: Path) -> str:
    """llama.cpp's name for how the tokenizer splits texts, found by what it does to texts that tell them apart."""
    own = tokenizer.backend_tokenizer.pre_tokenizer
    for name, splitting in SPLITTINGS.items():
        known = splitting.pre_tokenizer
        same = own and known and all(own.pre_tokenize_str(t) == known.pre_tokenize_str(t) for t in _PROBES)
        if same and splitting.whole_words == tokenizer.backend_tokenizer.model.ignore_merges:
            return name
    raise LlamaNasError(
        f"the tokenizer in {folder} splits texts in a way that has no name here; known are {', '.join(SPLITTINGS)}. "
        "Leave export.gguf empty."
    )


def _add_special(writer: gguf.GGUFWriter, tokenizer: Any) -> None:
    """Special tokens, whether texts begin and end with them, and the chat template."""
    for name in ("bos", "eos", "unk", "pad"):
        if (index := getattr(tokenizer, f"{name}_token_id")) is not None:
            getattr(writer, f"add_{name}_token_id")(index)
    text = tokenizer("a").input_ids
    writer.add_add_bos_token(tokenizer.bos_token_id is not None and text[0] == tokenizer.bos_token_id)
    writer.add_add_eos_token(tokenizer.eos_token_id is not None and text[-1] == tokenizer.eos_token_id)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)
