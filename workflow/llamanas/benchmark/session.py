"""Run an exported ONNX network with its key-value cache."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime as ort

from llamanas.errors import LlamaNasError


class Cache(NamedTuple):
    """Keys and values by the graph's input names, each [batch, KV heads, places, head size].

    Of each row the first ``lengths`` [batch] places count.
    """

    entries: dict[str, ort.OrtValue]
    lengths: np.ndarray

    def rows(self, indices: Sequence[int] | np.ndarray) -> "Cache":
        """The cache of these rows of the batch, in this order; rows may repeat."""
        taken = {name: ort.OrtValue.ortvalue_from_numpy(v.numpy()[indices]) for name, v in self.entries.items()}
        return Cache(taken, self.lengths[indices])


class Network:
    """An ONNX network in ONNX Runtime on the CPU, with a fixed number of threads.

    Raises:
        LlamaNasError: the file is missing or cannot be loaded.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has an exception class of its own for each status
            raise LlamaNasError(f"{path} cannot be loaded: {error}. Delete it and run the workflow again.") from error
        self._past = [i for i in self._session.get_inputs() if i.name.startswith("past_key_values.")]
        outputs = self._session.get_outputs()
        self._outputs = [output.name for output in outputs]
        self.vocabulary_size: int = outputs[0].shape[-1]

    def empty(self, batch: int) -> Cache:
        """The cache before the first token."""
        shapes = {i.name: (batch, i.shape[1], 0, i.shape[3]) for i in self._past}
        blank = {n: ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32)) for n, shape in shapes.items()}
        return Cache(blank, np.zeros(batch, np.int64))

    def run(
        self, tokens: np.ndarray, cache: Cache | None = None, lengths: np.ndarray | None = None, keep: int = 0
    ) -> tuple[np.ndarray, Cache]:
        """Logits [batch, kept, vocabulary] of the last ``keep`` (0: all) positions, and the grown cache.

        tokens: [batch, sequence] integers that follow those in the cache; of each row the first ``lengths`` (default:
        all) count, the rest is padding. After the first call the runtime takes either a batch of one row or one token
        at a time.
        """
        cache = cache or self.empty(len(tokens))
        lengths = cache.lengths + (tokens.shape[1] if lengths is None else lengths)
        arrays = {
            "input_ids": np.ascontiguousarray(tokens, np.int64),
            "attention_mask": (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64),
            "logits_to_keep": np.array([keep], np.int64),
        }
        feeds = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}
        logits, *present = self._session.run_with_ort_values(self._outputs, feeds | cache.entries)
        grown = dict(zip((i.name for i in self._past), present, strict=True))
        return logits.numpy(), Cache(grown, lengths)

    def generate(self, tokens: Sequence[int]) -> Iterator[int]:
        """The most likely tokens that follow, one by one, without end."""
        logits, cache = self.run(np.array([tokens]), keep=1)
        while True:
            following = int(logits[0, -1].argmax())
            yield following
            logits, cache = self.run(np.array([[following]]), cache)


class OnnxEngine:
    """An exported network in ONNX Runtime on the CPU.

    Raises:
        LlamaNasError: the file is missing or cannot be loaded.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self.path, self.network = path, Network(path, threads)
        self.runtime = f"onnxruntime {ort.__version__} CPU"
        self.vocabulary_size = self.network.vocabulary_size
        blank = [value.numpy() for value in self.network.empty(1).entries.values()]
        self.cache_bytes_per_token = sum(b.itemsize * b.shape[1] * b.shape[3] for b in blank)

    @cached_property
    def bytes_per_step(self) -> int:
        """Bytes of the weights that a decoding step reads."""
        return bytes_per_step(self.path)

    def prepare(self, batch: int, prompt_tokens: int, new_tokens: int) -> None:
        """The runtime reserves memory by itself."""

    def prefill(self, prompt: np.ndarray) -> None:
        """Run a prompt [batch, tokens] and choose the token after it."""
        self._advance(*self.network.run(prompt, keep=1))

    def decode(self, steps: int) -> None:
        """Append the likeliest token so many times."""
        for _ in range(steps):
            self._advance(*self.network.run(self.following, self.cache))

    def _advance(self, logits: np.ndarray, cache: Cache) -> None:
        self.following, self.cache = logits[:, -1].argmax(-1)[:, None], cache


def bytes_per_step(path: Path) -> int:
    """Bytes of the weights of an ONNX file that a decoding step reads: all but tables of which it reads a row."""
    import onnx_ir as ir  # not needed where memory is measured

    graph = ir.load(path).graph
    weights = {name: value.const_value.nbytes for name, value in graph.initializers.items() if value.const_value}
    for name, value in graph.initializers.items():
        if value.uses() and all(node.op_type == "Gather" for node, _ in value.uses()):
            weights[name] = 0
    return sum(weights.values())
