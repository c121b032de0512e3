"""The text on which quantization measures networks."""

from llamanas.data.packing import epochs


def calibration_tokens(examples: list[dict], count: int, seed: int) -> list[int]:
    """The first ``count`` tokens of training examples in a drawn order, prompts and answers."""
    drawn = next(epochs(examples, count, seed))
    return [token for example in drawn for token in (*example["prompt"], *example["answer"])][:count]
