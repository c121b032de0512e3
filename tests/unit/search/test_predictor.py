"""The predictor on scores that are known functions of the architecture."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from llamanas.errors import LlamaNasError
from llamanas.search.predictor import SUMS, Features, fit_predictor
from llamanas.supernet.ladder import ladder
from llamanas.supernet.space import choice_table
from synthetic_search import Problem


def drawn(problem: Problem, count: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.array([problem.space.encode(problem.space.random(random)) for _ in range(count)])


def features_of(problem: Problem, ranked: bool = True) -> Features:
    cost = choice_table([choice.parameters for choice in choices] for choices in problem.space.choices)
    return Features(problem.space, problem.importance if ranked else None, cost)


def scores_of(problem: Problem, genes: np.ndarray) -> np.ndarray:
    return np.array([problem.score(problem.space.decode(row)) for row in genes])


def test_features_are_sums_and_one_hot():
    problem = Problem(5, 0, kv_heads=[1])
    genes = drawn(problem, 20)
    table = features_of(problem)(genes)
    scores = {(row["layer"], row["kind"], row["index"]): row["score"] for row in problem.importance}
    rungs = [problem.space.encode(rung) for rung in ladder(problem.space, problem.importance)]
    for row, values in zip(genes, table, strict=True):
        architecture = problem.space.decode(row)
        attention = sum(scores[i, "attention", n] for i, n in enumerate(architecture.kv_heads))
        mlp = sum(scores[i, "mlp", width] for i, width in enumerate(architecture.intermediate_sizes))
        assert values[:SUMS] == pytest.approx(
            [
                attention,
                mlp,
                (attention + mlp) ** 0.5,
                problem.space.parameters(architecture),
                min(sum(a != b for a, b in zip(row, rung, strict=True)) for rung in rungs) / 5,
            ]
        )
        assert np.count_nonzero(values[SUMS:]) == 5
        assert np.square(values[SUMS:]).sum() == pytest.approx(1)
    assert len(np.unique(table[:, SUMS:], axis=0)) == len(np.unique(genes, axis=0))


def test_rungs_lie_on_the_ladder_and_without_importance_there_is_none():
    problem = Problem(5, 0)
    rungs = np.array([problem.space.encode(rung) for rung in ladder(problem.space, problem.importance)])
    assert (features_of(problem)(rungs)[:, SUMS - 1] == 0).all()
    assert (features_of(problem)(drawn(problem, 20))[:, SUMS - 1] > 0).any()
    assert (features_of(problem, ranked=False)(drawn(problem, 20))[:, SUMS - 1] == 0).all()


def test_without_importance_sums_count_what_is_missing():
    problem = Problem(5, 0)
    genes = drawn(problem, 20)
    for row, values in zip(genes, features_of(problem, ranked=False)(genes), strict=True):
        architecture = problem.space.decode(row)
        missing = sum(1 - width / 256 for width in architecture.intermediate_sizes)
        assert values[:2] == pytest.approx([5 - sum(architecture.kv_heads) / 2, missing])


def test_without_importance_new_architectures_are_ranked_and_fits_repeat():
    problem = Problem(8, 1)
    genes, new = drawn(problem, 80), drawn(problem, 100, seed=1)
    one, two = (
        fit_predictor(features_of(problem, ranked=False), genes, scores_of(problem, genes), 3) for _ in range(2)
    )
    assert (one(new) == two(new)).all()
    assert kendalltau(one(new), scores_of(problem, new)).statistic > 0.7


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", [lambda y: y, np.tanh], ids=["additive", "saturating"])
def test_predictions_rank_new_architectures(seed, shape, capsys):
    problem = Problem(8, seed)
    genes, new = drawn(problem, 60), drawn(problem, 60, seed=1)
    predictor = fit_predictor(features_of(problem), genes, shape(scores_of(problem, genes)), seed)
    assert kendalltau(predictor(new), scores_of(problem, new)).statistic > 0.7
    assert 0.6 < predictor.kendall_tau <= 1
    assert f"Kendall's tau {predictor.kendall_tau:.3f}" in capsys.readouterr().out


def test_predictions_are_in_units_of_the_score_and_repeat():
    problem = Problem(6, 0)
    genes = drawn(problem, 50)
    scores = scores_of(problem, genes)
    first, again = (fit_predictor(features_of(problem), genes, scores, 7) for _ in range(2))
    assert np.array_equal(first(genes), again(genes))
    assert np.abs(first(genes) - scores).mean() < 0.25 * scores.std()
    shifted = fit_predictor(features_of(problem), genes, 3 * scores + 5, 7)
    assert shifted(genes) == pytest.approx(3 * first(genes) + 5, abs=1e-3)


def test_few_rows_and_equal_scores_are_accepted_but_one_row_is_not():
    problem = Problem(6, 0)
    genes = drawn(problem, 4)
    for count in (2, 3, 4):
        predictor = fit_predictor(features_of(problem), genes[:count], scores_of(problem, genes[:count]), 0)
        assert np.isfinite(predictor(genes)).all()
    assert fit_predictor(features_of(problem), genes, np.full(4, -0.5), 0)(genes) == pytest.approx([-0.5] * 4)
    with pytest.raises(LlamaNasError, match="at least 2 measured"):
        fit_predictor(features_of(problem), genes[:1], np.zeros(1), 0)
