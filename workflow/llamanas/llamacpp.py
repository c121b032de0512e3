"""GGUF networks in llama.cpp itself, through the prebuilt library of the optional extra ``gguf``."""

import atexit
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from llamanas.errors import LlamaNasError

FILE_TYPES = {"Q8_0": 7, "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18}  # enum llama_ftype
_F32 = 0  # enum ggml_type
BRANCHES = 64  # sequences of a context
_LEVELS = (3, 4)  # warnings and errors in enum ggml_log_level


@cache
def library() -> Any:
    """The module that binds the library.

    Raises:
        LlamaNasError: the extra is not installed, or does not run on this machine.
    """
    try:
        from cyllama.llama import llama_cpp
    except ImportError as error:
        raise LlamaNasError(
            f"llama.cpp, which runs GGUF files and makes K-quants, cannot be loaded ({error}). Install it: "
            'pip install -c requirements.lock -e ".[gguf]"'
        ) from error
    llama_cpp.set_log_callback(_note)
    atexit.register(llama_cpp.disable_logging)  # the library outlives the interpreter
    llama_cpp.llama_backend_init()
    return llama_cpp


_messages: list[str] = []


def _note(level: int, text: str) -> None:
    """Keep the library's warnings and errors for messages of our own."""
    if level in _LEVELS and text.strip(" .\n"):
        _messages.append(text.strip())
        del _messages[:-20]


def _reason() -> str:
    """What the library said last, as part of a message."""
    return "; ".join(_messages[-3:]) or "it gives no reason"


def quantize(source: Path, destination: Path, kind: str, threads: int = 1) -> None:
    """Write a GGUF file with weights of type ``kind``, as llama.cpp's own quantizer makes them.

    Tensors whose rows do not fit the type's blocks get the nearest larger type that fits, as llama.cpp decides.

    Raises:
        LlamaNasError: the extra is not installed, or the library refuses the file.
    """
    settings = library().LlamaModelQuantizeParams()
    settings.nthread, settings.ftype = threads, FILE_TYPES[kind]
    _messages.clear()
    try:
        library().model_quantize(str(source), str(destination), settings)
    except RuntimeError as error:
        raise LlamaNasError(f"llama.cpp cannot quantize {source} to {kind} ({error}): {_reason()}.") from error


@cache
def _model_class() -> Any:
    """The library's model class with the attribute that its own contexts ask it for and it lacks (cyllama 0.2.18)."""

    class Model(library().LlamaModel):  # type: ignore[misc]
        @property
        def n_vocab(self) -> int:
            return self.get_vocab().n_vocab

    return Model


class GgufNetwork:
    """A GGUF network in llama.cpp on the CPU, with a fixed number of threads.

    Args:
        path: the GGUF file.
        threads: CPU threads.
        places: tokens that the context holds, over all sequences.
        exact: keep keys and values in float32 and attend plainly, instead of llama.cpp's defaults.

    Raises:
        LlamaNasError: the extra is not installed, or the file cannot be loaded.
    """

    def __init__(self, path: Path, threads: int = 1, places: int = 2048, exact: bool = False) -> None:
        self._lib = library()
        settings = self._lib.LlamaModelParams()
        settings.n_gpu_layers = 0
        _messages.clear()
        try:
            self._model = _model_class()(str(path), settings, verbose=False)
        except Exception as error:  # of several kinds
            raise LlamaNasError(
                f"{path} cannot be loaded by llama.cpp ({error}): {_reason()}. Make it again."
            ) from error
        self.path, self._threads, self._exact = path, threads, exact
        self._vocabulary = self._model.get_vocab()
        self.vocabulary_size: int = self._vocabulary.n_vocab
        self._context: Any = None
        self.places = 0
        self.reserve(places)

    def reserve(self, places: int) -> None:
        """Make room for this many tokens; what the context held is gone if it has to grow.

        Raises:
            LlamaNasError: llama.cpp cannot make such a context.
        """
        if places <= self.places:
            return
        if self._context is not None:
            self._context.close()
        settings = self._lib.LlamaContextParams()
        settings.n_ctx = settings.n_batch = places
        settings.n_seq_max, settings.kv_unified = BRANCHES, True  # sequences share the tokens they begin with
        settings.n_threads = settings.n_threads_batch = self._threads
        if self._exact:
            settings.type_k = settings.type_v = _F32
            settings.flash_attn_type = 0
        try:
            self._context = self._lib.LlamaContext(self._model, settings, verbose=False)
        except Exception as error:  # of several kinds
            raise LlamaNasError(f"{self.path} cannot be run by llama.cpp ({error}): {_reason()}.") from error
        self.places = places

    def logits(self, prefix: Sequence[int], branches: Sequence[Sequence[int]] = ()) -> list[np.ndarray]:
        """Logits [length, vocabulary] after each token of a prefix, then of each branch that continues it.

        Of the prefix there are all if there are no branches, else only the last token's.
        """
        if len(branches) > BRANCHES:
            first = self.logits(prefix, branches[:BRANCHES])
            return first + self.logits(prefix, branches[BRANCHES:])[1:]
        self._context.kv_cache_clear()
        self.reserve(len(prefix) + sum(map(len, branches)))
        everyone = list(range(max(1, len(branches))))
        rows = [(token, place, everyone, not branches) for place, token in enumerate(prefix)]
        rows[-1] = (*rows[-1][:3], True)
        for number, branch in enumerate(branches):
            rows += [(token, len(prefix) + place, [number], True) for place, token in enumerate(branch)]
        found = self._decode(rows)
        lengths = [len(prefix) if not branches else 1, *map(len, branches)]
        return np.split(found, np.cumsum(lengths)[:-1])

    def _decode(self, rows: list[tuple[int, int, list[int], bool]]) -> np.ndarray:
        """Logits [wanted, vocabulary] of tokens with their places, sequences, and whether their logits are wanted."""
        batch = self._lib.LlamaBatch(n_tokens=len(rows), embd=0, n_seq_max=BRANCHES)
        for row in rows:
            batch.add(*row)
        try:
            self._context.decode(batch)
        except (ValueError, RuntimeError) as error:
            raise LlamaNasError(f"llama.cpp cannot run {self.path} ({error}): {_reason()}.") from error
        wanted = [index for index, (*_, wanted) in enumerate(rows) if wanted]
        return np.array([self._context.get_logits_ith(index) for index in wanted], np.float32)

    def generate(self, tokens: Sequence[int]) -> Iterator[int]:
        """The most likely tokens that follow, one by one, until the context is full."""
        self._context.kv_cache_clear()
        place = len(tokens)
        logits = self._decode([(token, at, [0], at == place - 1) for at, token in enumerate(tokens)])
        while True:
            following = int(logits[-1].argmax())
            yield following
            if place == self.places:
                return
            logits = self._decode([(following, place, [0], True)])
            place += 1

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Tokens of a text, by the file's own tokenizer; ``special``: as the beginning of a text."""
        return list(self._vocabulary.tokenize(text, special, True))

    def piece(self, token: int) -> str:
        """The text that a token stands for."""
        return self._vocabulary.token_to_piece(token, 0, False)

    def ends(self, token: int) -> bool:
        """Whether a token ends an answer."""
        return bool(self._vocabulary.is_eog(token))

    @property
    def chat_template(self) -> str | None:
        """The file's chat template."""
        return self._model.get_default_chat_template() or None
