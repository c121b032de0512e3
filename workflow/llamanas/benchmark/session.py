"""Run an exported ONNX network with its key-value cache."""

from collections.abc import Iterator, Sequence
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
