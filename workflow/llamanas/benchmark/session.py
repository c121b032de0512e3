"""Run an exported ONNX network with its key-value cache."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime as ort

from llamanas.errors import LlamaNasError

# Execution providers by the name of the one that is asked for; nodes that the first cannot run go to the next.
PROVIDERS = {
    "CPU": ["CPUExecutionProvider"],
    "CUDA": ["CUDAExecutionProvider", "CPUExecutionProvider"],
    "TensorRT": ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
}
DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class Cache(NamedTuple):
    """Keys and values by the graph's input names, each [batch, KV heads, places, head size].

    They are on the GPU where that computed them, else in the host's memory. Of each row the first ``lengths`` [batch]
    places count.
    """

    entries: dict[str, ort.OrtValue]
    lengths: np.ndarray

    def rows(self, indices: Sequence[int] | np.ndarray) -> "Cache":
        """The cache of these rows of the batch, in this order; rows may repeat."""
        taken = {name: ort.OrtValue.ortvalue_from_numpy(v.numpy()[indices]) for name, v in self.entries.items()}
        return Cache(taken, self.lengths[indices])


class Network:
    """An ONNX network in ONNX Runtime, with a fixed number of CPU threads.

    ``provider`` is one of :data:`PROVIDERS`, ``gpu`` the number of the GPU that one other than CPU computes on. There
    the cache stays from step to step, while logits come back.

    Raises:
        LlamaNasError: the file is missing or cannot be loaded, or this ONNX Runtime has no such provider.
    """

    def __init__(self, path: Path, threads: int = 1, provider: str = "CPU", gpu: int = 0) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        names = PROVIDERS[provider]
        if provider != "CPU":
            _require_provider(names[0], ort.get_available_providers())
            ort.preload_dlls()  # finds CUDA's libraries in PyTorch's or NVIDIA's packages
        settings = [{} if name == "CPUExecutionProvider" else {"device_id": gpu} for name in names]
        try:
            self._session = ort.InferenceSession(path, options, providers=names, provider_options=settings)
        except Exception as error:  # onnxruntime has an exception class of its own for each status
            hint = (
                "Delete it and run the workflow again" if provider == "CPU" else "See whether the GPU has memory left"
            )
            raise LlamaNasError(f"{path} cannot be loaded: {error}. {hint}.") from error
        _require_provider(names[0], self._session.get_providers()[:1])  # ONNX Runtime itself goes on with the next
        self._place = ("cpu", 0) if provider == "CPU" else ("cuda", gpu)
        self._past = [i for i in self._session.get_inputs() if i.name.startswith("past_key_values.")]
        outputs = self._session.get_outputs()
        self._outputs = [output.name for output in outputs]
        self.vocabulary_size: int = outputs[0].shape[-1]

    def empty(self, batch: int) -> Cache:
        """The cache before the first token."""
        arrays = {i.name: np.zeros((batch, i.shape[1], 0, i.shape[3]), DTYPES[i.type]) for i in self._past}
        blank = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}
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
        binding = self._session.io_binding()
        for name, value in (feeds | cache.entries).items():
            binding.bind_ortvalue_input(name, value)
        binding.bind_output(self._outputs[0])
        for name in self._outputs[1:]:
            binding.bind_output(name, *self._place)
        self._session.run_with_iobinding(binding)
        logits, *present = binding.get_outputs()
        grown = dict(zip((i.name for i in self._past), present, strict=True))
        return logits.numpy(), Cache(grown, lengths)

    def generate(self, tokens: Sequence[int]) -> Iterator[int]:
        """The most likely tokens that follow, one by one, without end."""
        logits, cache = self.run(np.array([tokens]), keep=1)
        while True:
            following = int(logits[0, -1].argmax())
            yield following
            logits, cache = self.run(np.array([[following]]), cache)


def _require_provider(wanted: str, present: list[str]) -> None:
    if wanted not in present:
        raise LlamaNasError(
            f"ONNX Runtime has no {wanted} here. On a machine with an NVIDIA GPU, install onnxruntime-gpu in place of "
            "onnxruntime, and the libraries of CUDA (for TensorRT its own as well) that its version asks for."
        )


class OnnxEngine:
    """An exported network in ONNX Runtime; ``provider`` and ``gpu`` as :class:`Network` takes them.

    Raises:
        LlamaNasError: the file is missing or cannot be loaded, or this ONNX Runtime has no such provider.
    """

    def __init__(self, path: Path, threads: int, provider: str = "CPU", gpu: int = 0) -> None:
        self.path, self.network = path, Network(path, threads, provider, gpu)
        self.runtime = f"onnxruntime {ort.__version__} {provider}"
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
