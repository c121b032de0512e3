"""Tiny models as files, Hugging Face folders and GGUF, with a byte-level tokenizer and a reference tokenization."""

import json
from pathlib import Path

import gguf
import numpy as np
import regex
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

from conftest import tiny_model

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = "{% for message in messages %}{{ message['content'] }}<|im_end|>{% endfor %}"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LATER = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# What llama.cpp does for each name: these expressions one after the other.
STEPS = {
    "gpt-2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "llama-bpe": [_LATER.replace("DIGITS", r"\p{N}{1,3}")],
    "qwen2": [_LATER.replace("DIGITS", r"\p{N}")],
}
TEXTS = [
    "In 1990 there were 123 cats",
    "1990",
    " 12 34",
    "costs $1,234.50 (or 99%)",
    "It's WE'LL and they're I'M",
    "  two  spaces\n\nlines \t tab  ",
    "naïve café 東京 2024年 ½ ٣٤ Ⅻ",
    "snake_case a1b22c333 x+1=2",
    "emoji 🙂🙂 end",
    "\r\n\r\n123\r\n",
    "don't.\n\n Yes!!! 3.14159",
    "",
]


def words(text: str, steps: list[str]) -> list[str]:
    """The text cut by each expression in turn; what an expression does not match stays a piece of its own."""
    pieces = [text]
    for step in steps:
        cut = []
        for piece in pieces:
            at = 0
            for match in regex.finditer(step, piece):
                cut += [piece[at : match.start()], match.group()]
                at = match.end()
            cut.append(piece[at:])
        pieces = [piece for piece in cut if piece]
    return pieces


def reference_tokens(text: str, vocabulary: list[str], merges: list[str], pre: str) -> list[int]:
    """Byte-level BPE in plain Python: the pair with the lowest rank is merged until none is left."""
    spelling = _byte_spelling()
    ids = {token: index for index, token in enumerate(vocabulary)}
    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}
    tokens = []
    for word in words(text, STEPS[pre]):
        symbols = [spelling[byte] for byte in word.encode()]
        if pre == "llama-bpe" and "".join(symbols) in ids:
            symbols = ["".join(symbols)]
        while len(symbols) > 1:
            best = min(range(len(symbols) - 1), key=lambda i: ranks.get((symbols[i], symbols[i + 1]), len(ranks)))
            if (symbols[best], symbols[best + 1]) not in ranks:
                break
            symbols[best : best + 2] = [symbols[best] + symbols[best + 1]]
        tokens += [ids[symbol] for symbol in symbols]
    return tokens


def _byte_spelling() -> list[str]:
    """The printable character that stands for each byte in a byte-level vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def tiny_tokenizer(family: str = "llama") -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of 285 tokens, which cross every boundary at which a splitting could cut."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(["1990", " 12", "E'LL", "_case", "1,234", "(or", "s.\n\n", " cats", "x+1"], trainer)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if family == "qwen2":  # the family for which transformers insists on its own splitting
        backend.normalizer = Qwen2Tokenizer().backend_tokenizer.normalizer
        backend.pre_tokenizer = Qwen2Tokenizer().backend_tokenizer.pre_tokenizer
    names = {"bos_token": SPECIAL[1], "eos_token": SPECIAL[2], "pad_token": SPECIAL[0], "unk_token": SPECIAL[0]}
    return PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=TEMPLATE, **names)


def sentencepiece_tokenizer(normalizer=None, pre_tokenizer=None) -> PreTrainedTokenizerFast:
    """A BPE tokenizer laid out as those converted from sentencepiece: control tokens, bytes, pieces, letters.

    A piece has a merge for each way in which two others make it. Without arguments a space goes before every text.
    """
    learned, texts = Tokenizer(models.BPE()), [text.replace(" ", "\u2581") for text in TEXTS if text.isprintable()]
    trainer = trainers.BpeTrainer(vocab_size=140, show_progress=False)
    texts = [text for text in texts if text.isascii()] + ["\u2581" * 7, "\u2581the\u2581cats\u2581and\u2581they"] * 2
    learned.train_from_iterator(texts, trainer)
    made = ["".join(pair) for pair in json.loads(learned.to_str())["model"]["merges"]]
    letters = sorted({letter for text in texts for letter in text})
    control = ["<unk>", "<s>", "</s>"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    ids = {piece: index for index, piece in enumerate(dict.fromkeys([*control, *bytes_, *made, *letters]))}
    splits = [(piece[:at], piece[at:]) for piece in dict.fromkeys(made) for at in range(1, len(piece))]
    merges = [pair for pair in splits if set(pair) <= ids.keys()]
    backend = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if not (normalizer or pre_tokenizer):
        normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    if normalizer:
        backend.normalizer = normalizer
    if pre_tokenizer:
        backend.pre_tokenizer = pre_tokenizer
    backend.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", 1)])
    backend.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def vocabulary_and_merges(tokenizer: PreTrainedTokenizerFast) -> tuple[list[str], list[str]]:
    """Tokens by id, and merges in order, of a byte-level BPE tokenizer."""
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = tokenizer.get_vocab()
    return sorted(tokens, key=tokens.get), [" ".join(pair) for pair in model["merges"]]


def write_folder(folder: Path, family: str, **saving) -> None:
    """A Hugging Face folder with a tiny random model of the family and its tokenizer."""
    tiny_model(family).save_pretrained(folder, **saving)
    tiny_tokenizer(family).save_pretrained(folder)


def write_gguf(
    path: Path, model, quantized=None, fields: dict | None = None, without=(), extra: dict | None = None
) -> None:
    """A GGUF file of a tiny model, laid out as llama.cpp's converter does; ``fields`` adds or (None) removes keys."""
    config, architecture = model.config, model.config.model_type
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim if architecture == "qwen3" else 16)
    writer.add_rope_dimension_count(16)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    tokens, merges = vocabulary_and_merges(tiny_tokenizer())
    keys = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm" if architecture == "llama" else "qwen2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token in SPECIAL else 1 for token in tokens],
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.chat_template": TEMPLATE,
    } | (fields or {})
    for key, value in keys.items():
        add = {str: writer.add_string, bool: writer.add_bool, int: writer.add_uint32, list: writer.add_array}
        if value is not None:
            add[type(value)](key, value)
    kind = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}[architecture]
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    tensors = {
        names.get_name(name, try_suffixes=(".weight", ".bias")): _reordered(name, tensor.numpy(), config)
        for name, tensor in model.state_dict().items()
        if not (name == "lm_head.weight" and config.tie_word_embeddings)
    } | (extra or {})
    for name, array in tensors.items():
        if name in without:
            continue
        if quantized is not None and array.ndim > 1:
            writer.add_tensor(name, gguf.quantize(array, quantized), raw_dtype=quantized)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _reordered(name: str, array: np.ndarray, config) -> np.ndarray:
    """Rows of queries and keys as the llama architecture of GGUF has them: rotated pairs side by side."""
    if config.model_type != "llama" or not name.endswith(("q_proj.weight", "k_proj.weight")):
        return array
    heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
    halves = array.reshape(heads, 2, array.shape[0] // heads // 2, array.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(array.shape))
