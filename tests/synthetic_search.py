"""A small network whose score is a known function of the architecture, for tests of the search."""

import numpy as np

from llamanas.architecture import Architecture, ModelShape
from llamanas.supernet.space import SearchSpace, search_space

SETTINGS = {
    "algorithm": "linas",
    "use_importance": True,
    "objective": "parameters",
    "second_objective": None,
    "score": "search_score",
    "population": 8,
    "predictor_evaluations": 600,
    "limits": {},
}
SPACE = {
    "intermediate_sizes": [64, 128],
    "drop_layers": True,
    "kv_heads": [],
    "drop_attention": True,
    "minimum_depth": 0.5,
    "depths": None,
}


def shape_of(layers: int) -> ModelShape:
    return ModelShape("llama", layers, 64, 256, 4, 2, 16, 320, tied_head=True)


class Problem:
    """A score that falls with the sum of what each layer's choice loses; the sensitivities tell the losses roughly."""

    def __init__(self, layers: int, seed: int, **space: object) -> None:
        self.shape = shape_of(layers)
        self.space: SearchSpace = search_space(self.shape, SPACE | space)
        random = np.random.default_rng(seed)
        self.losses, self.importance = {}, []
        numbers, widths = (sorted({0, *(choice[place] for choice in self.space.choices[0])}) for place in (0, 1))
        for layer in range(layers):
            scale = random.gamma(1, 0.3)
            whole = random.gamma(1, 0.2)
            loss = {("attention", heads): whole * (1 - heads / numbers[-1]) ** 2 for heads in numbers}
            loss |= {("mlp", width): scale * (1 - width / widths[-1]) ** 2 for width in widths}
            self.losses |= {(layer, *key): value for key, value in loss.items()}
            self.importance += [
                {"layer": layer, "kind": kind, "index": index, "score": value * random.uniform(0.5, 2)}
                for (kind, index), value in loss.items()
            ]

    def score(self, architecture: Architecture) -> float:
        return -sum(
            self.losses[layer, "attention", heads] + self.losses[layer, "mlp", width]
            for layer, (heads, width) in enumerate(architecture.sizes)
        )

    def measure(self, candidates: list[dict]) -> list[dict]:
        """Rows of artifact ``scores``."""
        scores = [self.score(Architecture.from_row(row)) for row in candidates]
        return [
            {
                "architecture": row["architecture"],
                "search_score": score,
                "search_accuracy": np.exp(score),
                "n_search": 9,
            }
            for row, score in zip(candidates, scores, strict=True)
        ]
