"""What is measured of candidates: judged as lm-eval does, kept as soon as it is there."""

import numpy as np
import pytest

from items import SUBNETS, random_items
from llamanas.models.decoder import load_decoder
from llamanas.search.evaluate import KeptScores, load_and_answer
from llamanas.search.judge import judge, mean_scores

COMPUTE = {"dtype": "float32", "batch_tokens": 64, "shared_gb": 1}


def multiple_choice(**changes) -> dict:
    return {"kind": "multiple_choice", "lengths": [1, 10], "gold": [1], "scored": [1, 5], "weight": 1.0} | changes


def test_metric_decides_the_choice():
    values = np.array([[-2.0, -3.0]])
    assert judge(multiple_choice(), values, "acc") == {
        "chosen": 0,
        "credit": 0.0,
        "score": pytest.approx(-1.3132617),
    }
    assert judge(multiple_choice(), values, "acc_norm")["chosen"] == 1
    assert judge(multiple_choice(), values, "acc_norm")["credit"] == 1.0


def test_several_right_choices_are_all_right():
    assert judge(multiple_choice(gold=[0, 1]), np.array([[-2.0, -3.0]]), "acc")["score"] == pytest.approx(0)


@pytest.mark.parametrize(("hits", "credit"), [(3, 1.0), (2, 0.0)])
def test_an_answer_without_choices_is_right_if_every_token_is_the_likeliest(hits, credit):
    item = {"kind": "loglikelihood", "scored": [3], "weight": 1.0}
    assert judge(item, np.array([[-4.0], [hits]]), "acc") == {"chosen": 0, "credit": credit, "score": -4.0}


def test_a_rolling_text_counts_tokens_and_words():
    item = {"kind": "loglikelihood_rolling", "scored": [30, 10], "weight": 16.0}
    assert judge(item, np.array([[-60.0, -20.0], [8, 2]]), "acc") == {"chosen": 0, "credit": 0.25, "score": -5.0}


def test_the_score_of_a_rolling_task_is_that_of_all_words():
    answers = [
        {"architecture": "a", "score": -2.0, "credit": 0.5, "weight": 30.0},
        {"architecture": "a", "score": -4.0, "credit": 0.3, "weight": 10.0},
    ]
    expected = {"architecture": "a", "search_score": -2.5, "search_accuracy": 0.4, "n_search": 2}
    assert mean_scores(answers) == [expected]


def test_finished_candidates_are_on_disk_and_not_measured_again(family_folder, tmp_path, monkeypatch):
    items, shape = random_items(2), load_decoder(family_folder).shape
    candidates = [a.row(shape, 4) for a in (shape.full, *SUBNETS)]
    arguments = family_folder, "cpu", COMPUTE, candidates, items, "acc", tmp_path / "resume"
    seen = []
    put = KeptScores.__setitem__

    def interrupted(self, key, value):
        put(self, key, value)
        seen.append(key)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(KeptScores, "__setitem__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load_and_answer(*arguments)
    assert sorted(KeptScores(tmp_path / "resume")) == sorted(seen)
    with monkeypatch.context() as patch:
        patch.setattr(KeptScores, "__setitem__", lambda self, key, value: (seen.append(key), put(self, key, value)))
        resumed = load_and_answer(*arguments)
    assert len(seen) == len(set(seen)) == len(candidates)
    assert resumed == load_and_answer(*arguments[:-1], tmp_path / "anew")
    assert [row["architecture"] for row in resumed[:: len(items)]] == [row["architecture"] for row in candidates]
