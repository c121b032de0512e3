"""The summary table against numbers computed by hand from the synthetic tables."""

from dataclasses import replace

import pytest

from llamanas import artifacts
from llamanas.errors import LlamaNasError
from llamanas.report.results import Results
from llamanas.report.summary import paired_ratio, summarize
from llamanas.report.words import speed_verdict


def summary_of(results: Results) -> dict[tuple[str, str, str], dict]:
    rows = summarize(results.picks, results.accuracy, results.speed, results.shape)
    return {(row["task"], row["pick"], row["precision"]): row for row in rows}


def test_every_exported_file_has_one_row_of_the_artifact(results: Results) -> None:
    rows = summary_of(results)
    assert rows.keys() == {(row["task"], row["pick"], row["precision"]) for row in results.accuracy}
    assert artifacts.table_of("summary", list(rows.values())).num_rows == 8


def test_ratios_of_an_int8_pick(results: Results) -> None:
    row = summary_of(results)["mini_truthful", "half_way", "int8"]
    assert row["size_ratio"] == pytest.approx(180 / 120)
    assert row["size_ratio_fp32"] == pytest.approx(540 / 120)
    assert row["accuracy"] == pytest.approx(0.5)
    assert row["accuracy_full"] == row["accuracy_full_fp32"] == pytest.approx(0.6)
    assert row["prefill_speedup"] == pytest.approx(1.5)
    assert row["decode_speedup"] == pytest.approx(1.02)
    assert row["decode_tokens_per_s"] == pytest.approx(80 * 1.02)
    assert row["decode_speedup_fp32"] == pytest.approx(80 * 1.02 / 50)
    assert row["share_of_bandwidth"] == 0.5
    pick = next(row for row in results.picks["mini_truthful"] if row["pick"] == "half_way")
    assert (row["parameters"], row["architecture"]) == (pick["parameters"], pick["architecture"])


def test_speedup_is_the_median_of_the_rounds_ratios_not_the_ratio_of_medians(results: Results) -> None:
    """A machine that slows down between the rounds changes both files of a round alike."""
    speed = []
    for row in results.speed:
        drift = 1 / (1 + row["repeat"])
        row = row | {"decode_tokens_per_s": row["decode_tokens_per_s"] * drift}
        speed.append(row | {"full_decode_tokens_per_s": row["full_decode_tokens_per_s"] * drift})
    row = summary_of(replace(results, speed=speed))["mini_truthful", "half_way", "fp32"]
    assert row["decode_speedup"] == row["decode_speedup_fp32"] == pytest.approx(1.02)
    # Speeds of the rounds: 50 times 0.9, 0.95 / 2, 1.02 / 3, 1.05 / 4, 1.1 / 5.
    assert row["decode_tokens_per_s"] == pytest.approx(50 * 1.02 / 3)


def test_the_full_network_is_compared_with_itself_in_every_task(results: Results) -> None:
    rows = summary_of(results)
    for task in results.picks:
        row = rows[task, "full", "int8"]
        assert row["parameters"] == results.shape.full.parameters(results.shape) == 134_515_008
        assert (row["size_ratio"], row["size_ratio_fp32"]) == (1, 3)
        assert (row["decode_speedup"], row["decode_speedup_fp32"]) == (1, pytest.approx(1.6))
        assert row["accuracy"] == row["accuracy_full"]


def test_the_full_networks_speed_holds_for_all_tasks_whatever_task_it_names(results: Results) -> None:
    speed = [row | {"task": "mini_truthful"} if row["pick"] == "full" else row for row in results.speed]
    assert summary_of(replace(results, speed=speed)) == summary_of(results)


def test_a_missing_measurement_is_named(results: Results) -> None:
    speed = [row for row in results.speed if (row["pick"], row["precision"]) != ("full", "fp32")]
    with pytest.raises(LlamaNasError, match="speed of full / fp32"):
        summary_of(replace(results, speed=speed))
    accuracy = [row for row in results.accuracy if row["pick"] != "full"]
    with pytest.raises(LlamaNasError, match="accuracy of mini_commonsense / full / fp32"):
        summary_of(replace(results, accuracy=accuracy))
    with pytest.raises(LlamaNasError, match="given twice"):
        summary_of(replace(results, accuracy=results.accuracy * 2))


def rounds(*ratios: float) -> list[dict]:
    return [{"decode_tokens_per_s": ratio, "full_decode_tokens_per_s": 1.0} for ratio in ratios]


@pytest.mark.parametrize(
    ("prefill", "decode", "size_ratio", "warn", "words"),
    [
        ((1.2, 1.1), (1.3, 1.4), 1.5, False, "faster in all 2 rounds"),
        ((1.2, 0.9), (1.3, 1.4), 1.5, True, "smaller, but not measurably faster in prefill, faster in decode"),
        ((0.8, 0.9), (0.8, 0.9), 1.5, True, "smaller, but slower than the full network"),
        ((0.8, 0.9), (0.8, 0.9), 1.0, False, "slower than the full network"),
        ((1.2,), (1.3,), 1.5, False, "faster in the one round"),
    ],
)
def test_smaller_but_not_faster_is_said(
    prefill: tuple, decode: tuple, size_ratio: float, warn: bool, words: str
) -> None:
    ratios = (paired_ratio(rounds(*values), "decode") for values in (prefill, decode))
    row = {"pick": "half_way", "precision": "int8", "size_ratio": size_ratio}
    assert speed_verdict(row, *ratios) == (warn, words)


def test_the_full_network_is_compared_with_itself_in_fp32() -> None:
    fast = [paired_ratio(rounds(1.2, 1.1), "decode")] * 2
    row = {"pick": "full", "precision": "int8", "size_ratio": 1.0, "size_ratio_fp32": 2.5}
    assert speed_verdict(row, *fast) == (False, "faster in all 2 rounds")
    slow = [paired_ratio(rounds(0.8, 0.9), "decode")] * 2
    assert speed_verdict(row, *slow) == (True, "smaller, but slower than in fp32")
    assert "noise of the clock" in speed_verdict(row | {"precision": "fp32"}, *fast)[1]
