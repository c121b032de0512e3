"""The figure of the benchmark of searches: it shows what the table says, and equal tables give equal text."""

import importlib.util
import re
from pathlib import Path

SPEC = importlib.util.spec_from_file_location(
    "search_figure", Path(__file__).parents[3] / "benchmarks/search_figure.py"
)
assert SPEC and SPEC.loader
search_figure = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(search_figure)


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_comparison_names_each_algorithm():
    rows = [
        {"algorithm": name, "seed": seed, "measurements": count, "hypervolume": count * factor + seed / 100}
        for name, factor in (("linas", 0.3), ("random", 0.1))
        for seed in range(3)
        for count in (1, 2, 3)
    ]
    svg = search_figure.draw_comparison(rows)
    assert {"linas (3 seeds)", "random (3 seeds)", "measured networks"} <= set(texts(svg))
    assert svg == search_figure.draw_comparison(rows)
