"""What is measured of candidates: judged as lm-eval does, kept as soon as it is there."""

import numpy as np
import pytest

from items import SUBNETS, random_items
from llamanas.models.decoder import load_decoder
from llamanas.search.evaluate import KeptScores, measure
from llamanas.search.judge import Judge

COMPUTE = {"dtype": "float32", "batch_tokens": 64, "shared_gb": 1}


def item(kind: str, scored: list[int], **changes) -> dict:
    about = {"kind": kind, "branches": [[0] * count for count in scored], "scored": scored, "gold": [0], "weight": 1.0}
    return about | {"item": "t/0", "lengths": [1] * len(scored)} | changes


CHOICE = item("multiple_choice", [1, 5], lengths=[1, 10], gold=[1])


def verdict(of: dict, values: list[list[float]], metric: str = "acc") -> tuple:
    return tuple(column.item() for column in Judge([of], metric)(np.array(values, float)))


def test_metric_decides_the_choice():
    assert verdict(CHOICE, [[-2, -3]]) == (0, 0.0, pytest.approx(0.5185955))
    assert verdict(CHOICE, [[-2, -3]], "acc_norm")[:2] == (1, 1.0)


def test_several_right_choices_are_all_right():
    assert verdict(CHOICE | {"gold": [0, 1]}, [[-2, -3]]) == (0, 1.0, pytest.approx(1))


@pytest.mark.parametrize(("hits", "credit"), [(3, 1.0), (2, 0.0)])
def test_an_answer_without_choices_is_right_if_every_token_is_the_likeliest(hits, credit):
    assert verdict(item("loglikelihood", [3]), [[-4], [hits]]) == (0, credit, -4.0)


def test_a_rolling_text_counts_tokens_and_words():
    rolling = item("loglikelihood_rolling", [30, 10], weight=16.0)
    assert verdict(rolling, [[-60, -20], [8, 2]]) == (0, 0.25, -5.0)


def test_items_of_different_kinds_and_sizes_are_judged_together():
    items = [CHOICE, item("multiple_choice", [1, 1, 1]), item("loglikelihood", [3])]
    values = np.array([[-2, -3, -1, -2, -3, -4], [1, 5, 1, 1, 1, 3]], float)
    together = Judge(items, "acc_norm")(values)
    apart = [
        verdict(each, values[:, part], "acc_norm") for each, part in zip(items, ([0, 1], [2, 3, 4], [5]), strict=True)
    ]
    assert [tuple(column[n] for column in together) for n in range(3)] == apart


def test_the_score_of_a_rolling_task_is_that_of_all_words():
    items = [item("loglikelihood_rolling", [30], weight=30.0), item("loglikelihood_rolling", [10], weight=10.0)]
    means = Judge(items, "acc").means(SUBNETS[0], np.array([[-60.0, -40.0], [15, 3]]))
    expected = {"architecture": SUBNETS[0].id, "search_score": -2.5, "search_accuracy": 0.4, "n_search": 2}
    assert means == pytest.approx(expected)


def test_answers_name_the_items_and_their_loglikelihoods():
    (row,) = Judge([CHOICE], "acc").answers(SUBNETS[0], np.array([[-2.0, -3.0]]))
    about = {"architecture": SUBNETS[0].id, "item": "t/0", "chosen": 0, "gold": [1], "credit": 0.0, "weight": 1.0}
    assert row == about | {"score": pytest.approx(0.5185955), "loglikelihoods": [-2.0, -3.0]}


def test_finished_candidates_are_on_disk_and_not_measured_again(family_folder, tmp_path, monkeypatch):
    items, shape = random_items(2), load_decoder(family_folder).shape
    candidates = [a.row(shape, 4) for a in (shape.full, *SUBNETS)]
    arguments = family_folder, "cpu", COMPUTE, candidates, items, tmp_path / "resume"
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
            measure(*arguments)
    assert sorted(KeptScores(tmp_path / "resume")) == sorted(seen)
    with monkeypatch.context() as patch:
        patch.setattr(KeptScores, "__setitem__", lambda self, key, value: (seen.append(key), put(self, key, value)))
        resumed = measure(*arguments)
    assert len(seen) == len(set(seen)) == len(candidates)
    anew = measure(*arguments[:-1], tmp_path / "anew")
    assert [architecture.id for architecture, _ in resumed] == [row["architecture"] for row in candidates]
    for (own, values), (other, expected) in zip(resumed, anew, strict=True):
        assert own == other
        np.testing.assert_array_equal(values, expected)


def test_damaged_scores_are_measured_again(tmp_path):
    kept, values = KeptScores(tmp_path), np.arange(12.0).reshape(3, 4)
    for name in ("whole", "cut", "flipped", "empty"):
        kept[name, 0] = values
    content = (tmp_path / "whole-0.npz").read_bytes()
    place = content.index(values.tobytes()) + 9
    (tmp_path / "flipped-0.npz").write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    (tmp_path / "cut-0.npz").write_bytes(content[:-40])
    (tmp_path / "empty-0.npz").write_bytes(b"")
    again = KeptScores(tmp_path)
    assert [*again] == [("whole", 0)]
    np.testing.assert_array_equal(again["whole", 0], values)
