"""Every task's picks on one task: which rows there are, and that accuracies are those of the answers."""

import numpy as np
import pytest

from llamanas.errors import LlamaNasError
from llamanas.select.transfer import distinct, transfer_rows

SETTINGS = {"confidence": 0.95, "bootstrap": 200}
FULL = {"pick": "full", "architecture": "f", "parameters": 9}
PICKS = {
    "one": [FULL, {"pick": "knee", "architecture": "a", "parameters": 5}],
    "two": [FULL, {"pick": "knee", "architecture": "b", "parameters": 4}],
}
SHARES = {"f": 0.8, "a": 0.7, "b": 0.3}


def answers(names: str) -> list[dict]:
    draw = np.random.default_rng(0)
    return [
        {"architecture": name, "item": str(item), "credit": float(draw.random() < SHARES[name])}
        for name in names
        for item in range(200)
    ]


def test_each_search_has_its_picks_with_the_accuracy_of_the_answers():
    given = answers("fab")
    rows = transfer_rows("two", PICKS, given, "f", SETTINGS, 0)
    assert [(row["searched"], row["task"], row["pick"], row["architecture"]) for row in rows] == [
        ("one", "two", "full", "f"),
        ("one", "two", "knee", "a"),
        ("two", "two", "full", "f"),
        ("two", "two", "knee", "b"),
    ]
    for row in rows:
        credit = [answer["credit"] for answer in given if answer["architecture"] == row["architecture"]]
        assert row["report_accuracy"] == np.mean(credit) and row["n_report"] == 200
    assert rows[1]["own_difference"] == rows[1]["report_accuracy"] - rows[3]["report_accuracy"]
    assert rows[1]["own_difference_ci_low"] > 0 and rows[3]["own_difference"] == rows[0]["own_difference"] == 0
    assert rows[0]["difference"] == 0 and rows[3]["difference_ci_high"] < 0 and not rows[3]["within_noise"]


def test_an_architecture_is_measured_once():
    assert [row["architecture"] for row in distinct(PICKS)] == ["f", "a", "b"]


def test_missing_answers_are_an_error():
    with pytest.raises(LlamaNasError, match="architecture b was answered on 0 items"):
        transfer_rows("two", PICKS, answers("fa"), "f", SETTINGS, 0)
