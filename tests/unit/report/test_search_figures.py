"""Figures about searches: they show what the tables say, and equal tables give equal text."""

import re

from llamanas.report.search import draw_comparison


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_comparison_names_each_algorithm():
    rows = [
        {"algorithm": name, "seed": seed, "measurements": count, "hypervolume": count * factor + seed / 100}
        for name, factor in (("linas", 0.3), ("random", 0.1))
        for seed in range(3)
        for count in (1, 2, 3)
    ]
    svg = draw_comparison(rows)
    assert {"linas (3 seeds)", "random (3 seeds)", "measured networks"} <= set(texts(svg))
    assert svg == draw_comparison(rows)
