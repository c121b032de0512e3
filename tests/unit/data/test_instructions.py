"""Training examples: what each kind of item gives, and which sources there are."""

import json

import pytest

from llamanas.data.instructions import instruction_rows, train_examples
from llamanas.errors import LlamaNasError
from tiny_experiment import write_tokenizer

CHOICES = {
    "item": "sounds/train/3", "split": "train", "kind": "multiple_choice", "prefix": [1, 2], "gold": [1, 3],
    "branches": [[3, 10], [3, 11, 12], [3, 13], [3, 14]], "scored": [1, 2, 1, 1],
}  # fmt: skip
TEXT = CHOICES | {"kind": "loglikelihood_rolling", "gold": [0], "prefix": [], "item": "texts/train/0"}
SETTINGS = {
    "template": "{instruction}\n{input}", "max_tokens": 64, "choices": "right", "task_repeats": 1
}  # fmt: skip
WRITTEN = [{"source": "written", "prompt": [5], "answer": [6, 7], "labelled": True}]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return AutoTokenizer.from_pretrained(folder)


def test_the_right_choice_is_the_example():
    expected = {"source": "sounds", "prompt": [1, 2, 3], "answer": [11, 12], "labelled": True}
    assert train_examples(CHOICES) == [expected]
    assert train_examples(CHOICES, wrong=True)[0] == expected


def test_wrong_choices_follow_without_a_label():
    others = train_examples(CHOICES, wrong=True)[1:]
    assert [example["answer"] for example in others] == [[10], [13]]  # the second right one is not wrong
    assert all(example["prompt"] == [1, 2, 3] and example["labelled"] is False for example in others)


@pytest.mark.parametrize("wrong", [False, True])
def test_all_windows_of_a_text_are_right(wrong):
    examples = train_examples(TEXT, wrong)
    assert [example["answer"] for example in examples] == [[10], [11, 12], [13], [14]]
    assert all(example["labelled"] and example["source"] == "texts" for example in examples)
    single = CHOICES | {"kind": "loglikelihood", "gold": [0], "branches": [[3, 10]], "scored": [1]}
    assert [(example["answer"], example["labelled"]) for example in train_examples(single, wrong)] == [([10], True)]


def test_every_source_counts_and_tasks_are_repeated(tokenizer, tmp_path):
    file = tmp_path / "own.jsonl"
    file.write_text(json.dumps({"instruction": "Name a sound.", "input": "", "output": "loud"}))
    items = [CHOICES, CHOICES | {"split": "search"}]

    def rows(**changes) -> list[dict]:
        return instruction_rows([file], [], items, WRITTEN, tokenizer, SETTINGS | changes)

    once, often = rows(choices="all"), rows(choices="all", task_repeats=3)
    own = {"source": str(file), "prompt": tokenizer.encode("Name a sound."), "labelled": True}
    assert once == [*WRITTEN, own | {"answer": once[1]["answer"]}, *train_examples(CHOICES, wrong=True)]
    assert tokenizer.decode(once[1]["answer"]) == " loud<end>"
    assert often == once[:2] + once[2:] * 3
    assert rows() == once[:3]


def test_long_examples_are_left_out_and_nothing_at_all_is_refused(tokenizer):
    rows = instruction_rows([], [], [CHOICES], WRITTEN, tokenizer, SETTINGS | {"max_tokens": 4})
    assert rows == WRITTEN
    with pytest.raises(LlamaNasError, match=r"nothing to fine-tune on.*instructions\.self_examples"):
        instruction_rows([], [], [CHOICES], [], tokenizer, SETTINGS | {"max_tokens": 4})
