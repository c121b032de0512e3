"""Examples that a model writes itself: how many, how long, how they begin, and that a seed repeats them."""

import shutil
from pathlib import Path

import pytest

from conftest import tiny_model
from llamanas.data.written import written_rows
from tiny_experiment import write_tokenizer

TEMPLATE = (
    "{% for message in messages %}<end>{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<end>assistant:{% endif %}"
)
COUNT, MOST = 19, 32  # more than a batch of texts


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "chat"])
def folder(request, tmp_path_factory) -> Path:
    from transformers import AutoTokenizer

    path = tmp_path_factory.mktemp("model")
    tiny_model("llama").save_pretrained(path)
    write_tokenizer(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.chat_template = TEMPLATE if request.param else None
    tokenizer.save_pretrained(path)
    return path


def test_texts_begin_as_asked_and_are_short_enough(folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = written_rows(folder, COUNT, MOST, 3, "cpu")
    assert len(rows) == COUNT and all(row["source"] == "written" and row["labelled"] for row in rows)
    assert all(row["answer"] and len(row["prompt"]) + len(row["answer"]) <= MOST for row in rows)
    talks = [tokenizer.decode(row["prompt"]) for row in rows if len(row["prompt"]) > 1]
    assert len(talks) == (COUNT // 2 if tokenizer.chat_template else 0)
    assert all(talk.startswith("<end>user: ") and talk.endswith("\n<end>assistant:") for talk in talks)
    starts = [row["prompt"][0] for row in rows if len(row["prompt"]) == 1]
    assert len(set(starts)) > len(starts) // 2 and not {*starts} & {*tokenizer.all_special_ids}


def test_texts_end_where_their_turn_does(folder):
    from transformers import AutoTokenizer

    end = AutoTokenizer.from_pretrained(folder).eos_token_id
    rows = written_rows(folder, 32, MOST, 3, "cpu")
    assert any(len(row["prompt"]) + len(row["answer"]) < MOST for row in rows)
    assert all(end not in row["answer"][:-1] for row in rows)
    whole = [row for row in rows if len(row["prompt"]) == 1 and len(row["answer"]) < MOST - 1]
    assert whole and all(row["answer"][-1] == end for row in whole)


def test_other_tokens_that_stop_the_model_are_no_part_of_a_text(folder, tmp_path):
    from transformers import AutoTokenizer, GenerationConfig

    other = tmp_path / "model"
    shutil.copytree(folder, other)
    stops = [*range(100, 200)]
    GenerationConfig(eos_token_id=stops).save_pretrained(other)
    end = AutoTokenizer.from_pretrained(folder).eos_token_id
    rows = written_rows(other, 16, MOST, 3, "cpu")
    assert not any({*row["answer"]} & {*stops} for row in rows) and any(row["answer"][-1] == end for row in rows)


@pytest.mark.parametrize(
    "template",
    [TEMPLATE.replace("<end>", "a very long frame " * 5), TEMPLATE + "{{ messages[0]['content'] }}",
     "{{ messages[0]['content'] }}<end>"],
    ids=["too long", "message twice", "nothing before"],
)  # fmt: skip
def test_a_template_that_frames_no_message_gives_no_conversations(folder, tmp_path, template):
    from transformers import AutoTokenizer

    other = tmp_path / "model"
    shutil.copytree(folder, other)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(other)
    rows = written_rows(other, 10, MOST, 3, "cpu")
    assert len(rows) == 10 and all(len(row["prompt"]) == 1 and row["answer"] for row in rows)


def test_a_seed_repeats_the_texts(folder):
    first, again, other = (written_rows(folder, COUNT, MOST, seed, "cpu") for seed in (3, 3, 4))
    assert first == again and first != other
    starts = [[row["prompt"][0] for row in rows if len(row["prompt"]) == 1] for rows in (first, other)]
    assert starts[0] != starts[1]
