"""The published claims: the file fits its schema, and each verdict follows from the tables."""

from dataclasses import replace

import pytest
import yaml

from llamanas.errors import LlamaNasError
from llamanas.report import claims
from llamanas.report.claims import judged_claims, read_claims
from llamanas.report.files import exported_files, recommended
from llamanas.report.results import Results
from llamanas.report.summary import summarize


def judged(results: Results) -> dict[str, dict]:
    summary = summarize(results.picks, results.accuracy, results.speed, results.shape)
    files = [file for task in results.picks for file in exported_files(task, results, summary)]
    return {claim["name"]: claim for claim in judged_claims(results, files)}


def of_the_paper(results: Results) -> Results:
    """The same tables, as if the model were the paper's; sizes are still those of the rows."""
    sizes = {name: value for name, value in read_claims()["paper"]["model"].items() if name != "layers"}
    return replace(results, shape=replace(results.shape, layers=32, **sizes))


def test_only_the_abstract_is_a_source_and_only_its_two_ratios_are_numbers() -> None:
    found = read_claims()["claims"]
    assert {claim["source"] for claim in found} == {"abstract"}
    assert {claim["name"]: claim["published"] for claim in found if "published" in claim} == {
        "model_size": 1.5, "throughput": 1.3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [({"source": "table 1"}, "source is wrong"), ({"kind": "ratio"}, "published"), ({"published": 2}, "published")],
)
def test_a_claim_that_does_not_fit_is_refused(change, words, tmp_path, monkeypatch) -> None:
    content = yaml.safe_load(claims.CLAIMS.read_text())
    content["claims"][-1] |= change
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.setattr(claims, "CLAIMS", tmp_path / "claims.yaml")
    with pytest.raises(LlamaNasError, match=words):
        read_claims()


def test_another_model_is_not_comparable(results: Results) -> None:
    verdicts = {name: claim["verdict"] for name, claim in judged(results).items()}
    for name in ("model_size", "throughput", "quantization"):
        assert verdicts[name].startswith("not comparable: this run is not of LLaMA2-7B. Here: ")
    assert verdicts["one_fine_tuning"] == verdicts["genetic_search"] == "done so"
    assert verdicts["pruning"].startswith("not measured in this run")


def test_a_ratio_is_reached_only_by_a_pick_that_passes_the_test_of_accuracy(results: Results) -> None:
    half = {"parameters": results.shape.full.parameters(results.shape) // 2}
    for low, high, words in ((-0.05, 0.0, "reached on 2 of 2 tasks"), (-0.05, -0.01, "not reached")):
        bounds = {"difference_ci_low": low, "difference_ci_high": high}
        picks = {
            task: [row if row["pick"] == "full" else row | half | bounds for row in rows]
            for task, rows in results.picks.items()
        }
        claim = judged(replace(results, picks=picks))["model_size"]
        assert claim["verdict"].endswith(words)
        assert all(("2.00" in line) == (high >= 0) for line in claim["ours"])


@pytest.mark.parametrize(("guessed", "words"), [(1, "reached on 1 of 1 tasks"), (2, "not judged: on no task ")])
def test_a_task_on_which_the_full_network_may_guess_is_not_counted(results: Results, guessed, words) -> None:
    half = {"parameters": results.shape.full.parameters(results.shape) // 2, "difference_ci_high": 0.0}
    picks = {task: [row | half for row in rows] for task, rows in results.picks.items()}
    low = picks[next(iter(picks))][0]["full_report_ci_low"]
    question = {"split": "report", "kind": "multiple_choice"}
    chances = [question | {"branches": [[1]] * (1 if number < guessed else 100)} for number in range(len(picks))]
    asked = dict(zip(picks, ([chance] for chance in chances), strict=True))
    found = judged(replace(results, picks=picks, questions=asked))
    assert 0.01 < low < 1
    assert words in found["model_size"]["verdict"]
    for name in ("model_size", "throughput"):
        assert sum("not shown to be better than guessing" in line for line in found[name]["ours"]) == guessed


def test_the_papers_own_model_is_compared(results: Results) -> None:
    assert not judged(of_the_paper(results))["model_size"]["verdict"].startswith("not comparable")


def test_baselines_are_counted_by_intervals_that_do_not_meet(results: Results) -> None:
    row = {"task": "mini_truthful", "size_ratio": 1.5, "ci_low": 0.5, "ci_high": 0.6}
    rows = [row | {"method": "ours", "size_ratio": 1.51}, row | {"method": "a", "ci_low": 0.4, "ci_high": 0.49}]
    rows += [row | {"method": "b", "ci_low": 0.45, "ci_high": 0.55}, row | {"method": "pretrained", "size_ratio": 1.0}]
    claim = judged(replace(results, baselines=rows))["pruning"]
    assert claim["ours"] == ["of 2 comparisons 1 are better and 0 worse with intervals apart, the rest overlap"]
    assert claim["verdict"].endswith("better more often than worse")


def test_the_fastest_file_that_is_not_measurably_worse_is_taken() -> None:
    def file(pick: str, speed: float, size: int, high: float) -> dict:
        return {"pick": pick, "precision": "int8", "decode_speedup_fp32": speed, "file_bytes": size,
                "difference_ci_high": high}  # fmt: skip

    full, fast, near, worse = (
        file("full", 1.0, 9, 0),
        file("a", 1.6, 5, 0.01),
        file("b", 1.5, 4, 0),
        file("c", 2.0, 1, -0.1),
    )
    assert recommended([full, fast, worse]) == fast
    assert recommended([full, fast, near, worse]) == near  # within a tenth, and smaller
    assert recommended([full, worse]) == full
