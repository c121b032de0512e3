"""Figures about searches: they show what the tables say, and equal tables give equal text."""

import re

from llamanas.report.search import draw_comparison, draw_transfer


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


def test_transfer_shows_every_accuracy_but_the_full_networks():
    accuracies = {("a", "a"): 0.5, ("a", "b"): 0.41, ("b", "a"): 0.47, ("b", "b"): 0.6}
    rows = [
        {"pick": pick, "searched": searched, "task": task, "report_accuracy": value if pick == "knee" else 0.999}
        for pick in ("full", "knee")
        for (searched, task), value in accuracies.items()
    ]
    shown = texts(draw_transfer(rows))
    assert {"50.0", "41.0", "47.0", "60.0"} <= set(shown) and "99.9" not in shown
