"""Proposals: unique, unmeasured, repeatable, and better than chance."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from llamanas.architecture import Architecture
from llamanas.artifacts import table_of
from llamanas.errors import LlamaNasError
from llamanas.search.collect import collect
from llamanas.search.propose import propose
from llamanas.select.front import find_front
from llamanas.select.statistics import hypervolume
from llamanas.supernet.ladder import ladder
from llamanas.supernet.limits import Limits
from synthetic_search import SETTINGS, Problem


def search(problem: Problem, generations: int, seed: int = 0, **settings: object) -> list[list[dict]]:
    """The candidates of each generation, and the archive in the end."""
    archive: list[dict] = []
    history = []
    for generation in range(generations + 1):
        candidates = proposals(problem, archive, generation, seed, **settings)
        archive = collect(archive, candidates, problem.measure(candidates))
        history.append(candidates)
    return [*history, archive]


def proposals(problem: Problem, archive: list[dict], generation: int, seed: int = 0, **settings: object) -> list[dict]:
    settings = SETTINGS | settings
    return propose(problem.space, problem.shape, archive, problem.importance, settings, generation, seed, 4)


def ids(rows: list[dict]) -> list[str]:
    return [row["architecture"] for row in rows]


@pytest.fixture(params=["linas", "nsga2", "random"])
def algorithm(request) -> str:
    return request.param


def test_first_generation_has_extremes_ladder_and_random_draws():
    problem = Problem(8, 0)
    rows = proposals(problem, [], 0)
    origins = [row["origin"] for row in rows]
    assert sorted(origins[:5]) == ["full", "ladder", "ladder", "ladder", "smallest"] and origins[5:] == ["random"] * 3
    full, smallest = (Architecture.from_row(rows[origins.index(name)]) for name in ("full", "smallest"))
    assert full == problem.space.full
    assert problem.space.parameters(smallest) == problem.space.parameters(problem.space.smallest)
    assert table_of("candidates", rows).num_rows == 8
    assert {row["bytes"] / row["parameters"] for row in rows} == {4}


def test_first_generation_begins_with_sizes_far_apart():
    """The middle one first, and of the next two one on either side of it."""
    rows = [row for row in proposals(Problem(8, 0), [], 0, population=30) if row["origin"] != "random"]
    sizes = [row["parameters"] for row in rows]
    assert len(sizes) > 8 and sorted(sizes, reverse=True)[len(sizes) // 2] == sizes[0]
    assert sorted(sizes[:3])[1] == sizes[0] and max(sizes) not in sizes[:3]


def test_a_front_of_three_objectives_is_searched(algorithm):
    problem = Problem(6, 0)
    times = {("fixed", 0): 9, ("attention", 0): 0, ("attention", 2): 40}
    times |= {("mlp", 0): 0, ("mlp", 64): 7, ("mlp", 128): 8, ("mlp", 256): 30}
    rows = [{"part": part, "size": size, "microseconds": n} for (part, size), n in times.items()]
    problem.space = problem.space.timed(rows)
    changes = {"algorithm": algorithm, "objective": "latency", "second_objective": "parameters"}
    archive = search(problem, 2, 0, **changes)[-1]
    assert len(set(ids(archive))) == len(archive) == 24
    assert all(row["latency"] == problem.space.latency(Architecture.from_row(row)) for row in archive)
    assert {*ids(find_front(archive, "search_score", "latency"))} <= {
        *ids(find_front(archive, "search_score", "latency", "parameters"))
    }


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("objective", ["parameters", "bytes", "macs_per_token"])
def test_nothing_is_measured_twice_and_everything_is_admissible(algorithm, objective, seed):
    problem = Problem(6, seed, kv_heads=[1] if seed else [])
    *generations, archive = search(problem, 3, seed, algorithm=algorithm, objective=objective)
    assert [len(rows) for rows in generations] == [8] * 4
    assert len(set(ids(archive))) == len(archive) == 32
    assert all(problem.space.contains(Architecture.from_row(row)) for row in archive)
    assert {row["origin"] for row in generations[2]} == {algorithm}
    assert [row["generation"] for row in archive] == [0] * 8 + [1] * 8 + [2] * 8 + [3] * 8


def test_a_search_repeats_and_seeds_differ(algorithm):
    problem = Problem(8, 0)
    assert search(problem, 2, algorithm=algorithm) == search(problem, 2, algorithm=algorithm)
    other = search(problem, 2, seed=1, algorithm=algorithm)
    assert all(set(ids(a)) != set(ids(b)) for a, b in zip(search(problem, 2, algorithm=algorithm), other, strict=True))


def test_a_search_goes_on_from_its_archive(algorithm):
    problem = Problem(8, 0)
    *generations, _ = search(problem, 3, algorithm=algorithm)
    *_, archive = search(problem, 2, algorithm=algorithm)
    assert proposals(problem, archive, 3, algorithm=algorithm) == generations[3]


def test_proposals_do_not_depend_on_the_hash_seed():
    code = (
        "from test_propose import Problem, search; import hashlib;"
        "print(hashlib.sha256(repr(search(Problem(6, 0), 2)).encode()).hexdigest())"
    )
    paths = [*sys.path, str(Path(__file__).parent)]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path[:] = {paths}; {code}"],
            env={"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True,
        ).stdout.splitlines()[-1]
        for hash_seed in ("0", "1")
    }  # fmt: skip
    assert len(outputs) == 1


def test_a_small_space_is_measured_whole_and_then_nothing_is_proposed(algorithm):
    problem = Problem(2, 0, intermediate_sizes=[128], drop_attention=False)
    assert problem.space.size == 6
    *generations, archive = search(problem, 3, algorithm=algorithm, population=4)
    assert [len(rows) for rows in generations] == [4, 2, 0, 0]
    assert set(ids(archive)) == {
        architecture.id for architecture in Limits(problem.space, problem.shape, {}, 4).architectures()
    }


def test_random_draws_fill_a_generation_that_the_predictor_leaves_short():
    problem = Problem(6, 0)
    archive = search(problem, 0)[-1]
    origins = Counter(row["origin"] for row in proposals(problem, archive, 1, population=60, predictor_evaluations=20))
    assert origins.keys() == {"linas", "random"}
    assert origins.total() == 60


def test_linas_needs_a_matching_archive():
    problem = Problem(6, 0)
    with pytest.raises(LlamaNasError, match="at least 2 measured architectures, but the archive has 0"):
        proposals(problem, [], 1)
    with pytest.raises(LlamaNasError, match="not in the search space"):
        proposals(problem, search(Problem(5, 0), 0)[-1], 1)


@pytest.mark.parametrize("better", ["linas", "nsga2"])
@pytest.mark.parametrize("objective", ["parameters", "macs_per_token"])
def test_searches_beat_random_draws(objective, better):
    def volume(problem: Problem, algorithm: str, seed: int) -> float:
        archive = search(problem, 3, seed, algorithm=algorithm, objective=objective, population=10)[-1]
        shares = [row[objective] / archive[0][objective] for row in archive]
        return hypervolume(shares, [row["search_score"] for row in archive], (1.0, -4.0))

    wins = [volume(Problem(10, seed), better, seed) > volume(Problem(10, seed), "random", seed) for seed in range(5)]
    assert np.sum(wins) == 5


@pytest.mark.parametrize("seed", range(3))
def test_the_ladder_measures_its_rungs_and_nothing_else(seed):
    problem = Problem(6, seed)
    rungs = {rung.id for rung in ladder(problem.space, problem.importance)}
    *generations, archive = search(problem, 9, seed, algorithm="ladder")
    assert set(ids(archive)) == rungs and len(archive) == len(rungs)
    assert {row["origin"] for row in archive} == {"full", "smallest", "ladder"}
    assert generations[-1] == []


def test_without_importance_nothing_is_known_at_first():
    problem = Problem(8, 0)
    rows = proposals(problem, [], 0, use_importance=False)
    assert [row["origin"] for row in rows] == ["full"] + ["random"] * 7
    archive = collect([], rows, problem.measure(rows))
    blind = proposals(problem, archive, 1, use_importance=False)
    other = Problem(8, 1)
    other.space, other.shape = problem.space, problem.shape
    assert blind == proposals(other, archive, 1, use_importance=False)
    assert blind != proposals(problem, archive, 1)


def test_first_generation_needs_no_search_library():
    code = (
        "import sys; import llamanas.search.propose, llamanas.search.collect, llamanas.select.select;"
        "print({'pymoo', 'sklearn', 'scipy', 'torch', 'transformers'} & sys.modules.keys())"
    )
    path = f"import sys; sys.path[:] = {sys.path}; "
    result = subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


@pytest.mark.parametrize("share", [(0.55, 0.7), (0.0, 0.6), (0.8, 1.0)])
def test_all_but_the_full_network_keep_the_limits(algorithm, share):
    problem = Problem(6, 0)
    full = problem.shape.full.row(problem.shape, 4)
    for name in ("parameters", "bytes", "macs_per_token"):
        bounds = [part * full[name] for part in share]
        archive = search(problem, 1, algorithm=algorithm, limits={name: bounds})[-1]
        others = [row for row in archive if row["origin"] != "full"]
        assert len(others) == len(archive) - 1 > 3
        assert all(bounds[0] <= row[name] <= bounds[1] for row in others)


def test_limits_that_few_keep_are_found():
    """Random draws hardly meet a band of a thousandth of the sizes."""
    problem = Problem(8, 0)
    some = problem.space.random(np.random.default_rng(3), 60_000)
    wanted = some.parameters(problem.shape)
    archive = search(problem, 1, algorithm="random", limits={"parameters": [wanted, wanted]})[-1]
    others = {row["parameters"] for row in archive if row["origin"] != "full"}
    assert len(archive) > 1 and others == {wanted}


def test_a_replay_has_the_full_network_and_what_is_published():
    problem = Problem(8, 0)
    published = [*reversed(proposals(problem, [], 0)), *proposals(problem, [], 0, seed=1)]
    about = problem.importance, SETTINGS | {"algorithm": "replay", "population": 99}, 0, 0, 4
    rows = propose(problem.space, problem.shape, [], *about, published)
    assert ids(rows) == [*dict.fromkeys([problem.space.full.id, *ids(published)])]
    assert [row["origin"] for row in rows] == ["full", *["replay"] * (len(rows) - 1)]
    assert propose(problem.space, problem.shape, rows, *about, published) == []
