"""The tokenizer of a Hugging Face folder as the keys of a GGUF file."""

import json
import re
from itertools import pairwise
from math import inf
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
# What a sentencepiece tokenizer may do to a text but llama.cpp does not: treat spaces at its ends or several of them in
# some other way, normalize letters, leave out control characters.
_SPACES = ("a", "a b", " a", "  a", "a ", "a  b", "a   b    c", "a\n\n b\r\n\tc", "\n", " ")
_LETTERS = ("A", "e\u0301\u00e9", "\ufb01\u00bd\uff21\u00a0x", "\u200b\x07\u6771\u4eac\U0001f642")


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
        scores = _scores(tokens, merges)
        writer.add_token_scores(scores)
        writer.add_add_space_prefix(_space_prefix(tokenizer, dict(zip(tokens, scores, strict=True)), folder))
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


def _space_prefix(tokenizer: PreTrainedTokenizerFast, scores: dict[str, float], folder: Path) -> bool:
    """Whether a space goes before texts, once llama.cpp is known to make the tokenizer's own tokens with it.

    Compared are texts that tell ways to treat spaces and letters apart, each token that is added to the vocabulary
    between two words, and the text of every other token.
    """

    def own(text: str) -> list[str]:
        return tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).tokens

    added = tokenizer.get_added_vocab()
    cut = re.compile(f"({'|'.join(map(re.escape, sorted(added, key=len, reverse=True))) or '(?!)'})")
    space = own("a") == _llamacpp_tokens("a", scores, cut, True)
    texts = [*_SPACES, *_LETTERS, *(f"a{token}b {token} c" for token in added)]
    texts += [token.replace("\u2581", " ") for token in tokenizer.get_vocab() if token not in added]
    for text in texts:
        if (wanted := own(text)) != (found := _llamacpp_tokens(text, scores, cut, space)):
            raise LlamaNasError(
                f"llama.cpp does not reproduce the tokenizer in {folder}: of {text!r} it would make {found} instead of "
                f"{wanted}. Leave export.gguf empty; the Hugging Face folder and the ONNX file run."
            )
    return space


def _llamacpp_tokens(text: str, scores: dict[str, float], cut: re.Pattern, space: bool) -> list[str]:
    """Tokens of a text as llama.cpp makes them by ``scores`` (src/llama-vocab.cpp, llm_tokenizer_spm).

    Added tokens, which ``cut`` matches, are cut out first, and what is between them begins with one more space if
    ``space``. There, the two neighbours that make the token of highest score are joined, the first ones of equals,
    until none make a token. Characters without a token become their bytes.
    """
    tokens: list[str] = []
    for number, part in enumerate(cut.split(text)):
        if number % 2:
            tokens.append(part)
            continue
        pieces = list((" " * (space and part != "") + part).replace(" ", "\u2581"))
        while len(pieces) > 1:
            joined = [scores.get(left + right, -inf) for left, right in pairwise(pieces)]
            at = max(range(len(joined)), key=joined.__getitem__)
            if joined[at] == -inf:
                break
            pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
        for piece in pieces:
            tokens += [piece] if piece in scores else [f"<0x{byte:02X}>" for byte in piece.encode()]
    return tokens


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
