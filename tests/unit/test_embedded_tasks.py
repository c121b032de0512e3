"""The embedded tasks and instructions: sizes, schema, clean splits, no hint in place or length, reproducible bytes."""

import importlib.util
import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from itertools import combinations
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

CONFIG = Path(__file__).parents[2] / "config"
TASKS = ("mini_commonsense", "mini_language", "mini_truthful")
SMALLEST = {"train": 300, "validation": 200, "test": 300}
FUNCTION_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "been",
        "but",
        "by",
        "can",
        "do",
        "does",
        "for",
        "from",
        "had",
        "has",
        "have",
        "he",
        "her",
        "him",
        "his",
        "i",
        "in",
        "is",
        "it",
        "its",
        "me",
        "my",
        "not",
        "of",
        "on",
        "or",
        "our",
        "she",
        "so",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "to",
        "up",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "who",
        "whom",
        "will",
        "with",
        "would",
        "you",
        "your",
        "question",
        "answer",
        "because",
        "if",
        "called",
        "word",
        "mean",
        "means",
        "something",
        "someone",
        "usually",
        "most",
    ]
)
# Share of common content words above which two items count as one fact asked twice.
SAME_FACT = 0.5


@cache
def items(task: str, split: str) -> tuple[dict, ...]:
    return tuple(pq.read_table(CONFIG / "tasks" / task / f"{split}.parquet").to_pylist())


def gold(item: dict) -> str:
    return item["choices"][item["answer"]]


def stem(word: str) -> str:
    return re.sub(r"(?<=\w{3})(ing|ed|es|s|e|y)$", "", word)


def stems(item: dict) -> frozenset[str]:
    words = re.findall(r"[a-z0-9-]+", f"{item['question']} {gold(item)}".lower().replace("'s", ""))
    return frozenset(stem(word) for word in words if word not in FUNCTION_WORDS)


@cache
def template_words() -> dict[str, frozenset[str]]:
    """By topic, the words of its ways to ask: those which more than three in twenty of its items have."""
    by_topic: dict[str, list[frozenset[str]]] = {}
    for split in SMALLEST:
        for item in everything(split):
            by_topic.setdefault(item["topic"], []).append(stems(item))
    return {
        topic: frozenset(
            word for word, count in Counter(w for words in found for w in words).items() if count > 0.15 * len(found)
        )
        for topic, found in by_topic.items()
    }


def content_words(item: dict) -> frozenset[str]:
    return stems(item) - template_words().get(item["topic"], frozenset())


def normalised(item: dict) -> tuple[str, ...]:
    return tuple(re.findall(r"[a-z0-9]+", f"{item['question']} = {gold(item)}".lower()))


def near_duplicates(these: Iterable[dict], others: Iterable[dict]) -> list[str]:
    """Pairs whose questions with their right choices share most of their content words."""
    index: dict[str, list[tuple[dict, frozenset[str]]]] = {}
    for other in others:
        words = content_words(other)
        for word in words:
            index.setdefault(word, []).append((other, words))
    found = {}
    for item in these:
        words = content_words(item)
        for word in words:
            for other, other_words in index.get(word, ()):
                if item["id"] != other["id"] and len(words & other_words) > SAME_FACT * len(words | other_words):
                    found[item["id"], other["id"]] = (
                        f"{item['question']} {gold(item)} ~ {other['question']} {gold(other)}"
                    )
    return list(found.values())


def everything(split: str) -> list[dict]:
    return [item for task in TASKS for item in items(task, split)]


@pytest.mark.parametrize("split", SMALLEST)
@pytest.mark.parametrize("task", TASKS)
def test_sizes_and_schema(task, split):
    rows = items(task, split)
    assert len(rows) >= SMALLEST[split]
    schema = pq.read_schema(CONFIG / "tasks" / task / f"{split}.parquet")
    types = {field.name: str(field.type) for field in schema}
    assert types == {
        "id": "string",
        "topic": "string",
        "question": "string",
        "choices": "list<element: string>",
        "answer": "int64",
    }
    for row in rows:
        choices = [choice.lower() for choice in row["choices"]]
        assert len(choices) in (2, 4) and len(set(choices)) == len(choices) and all(choices), row
        assert 0 <= row["answer"] < len(choices), row
        assert row["question"] == row["question"].strip() and "{" not in row["question"], row


@pytest.mark.parametrize("task", TASKS)
def test_ids_are_unique_and_topics_are_varied(task):
    rows = [item for split in SMALLEST for item in items(task, split)]
    assert len({row["id"] for row in rows}) == len(rows)
    per_topic = Counter(item["topic"] for item in items(task, "test"))
    assert len(per_topic) >= 15 and max(per_topic.values()) <= 0.2 * per_topic.total()


@pytest.mark.parametrize("pair", list(combinations(SMALLEST, 2)), ids="-".join)
def test_no_item_or_paraphrase_in_two_splits(pair):
    these, others = map(everything, pair)
    assert not {normalised(item) for item in these} & {normalised(item) for item in others}
    assert not near_duplicates(these, others)


def test_measured_splits_ask_each_fact_once():
    for split in ("validation", "test"):
        rows = everything(split)
        assert not near_duplicates(rows, rows)


@pytest.mark.parametrize(
    ("topic", "item", "paraphrase"),
    [
        ("purpose", "A hammer is used for|driving nails", "The best thing to use for driving nails is|a hammer"),
        ("capital", "The capital of Australia is|Canberra", "Which city is the capital of Australia?|Canberra"),
        ("body", "Humans use|all of their brain", "How much of their brain do humans use?|all of it"),
    ],
)
def test_the_check_catches_a_planted_paraphrase(topic, item, paraphrase):
    def planted(text: str) -> dict:
        question, answer = text.split("|")
        return {"id": text, "topic": topic, "question": question, "choices": [answer, "something else"], "answer": 0}

    assert near_duplicates([planted(item)], [planted(paraphrase)])
    assert not near_duplicates([planted("A saw is used for|cutting boards")], [planted(paraphrase)])


@pytest.mark.parametrize("split", SMALLEST)
@pytest.mark.parametrize("task", TASKS)
def test_place_gives_no_hint(task, split):
    for count in (2, 4):
        places = Counter(item["answer"] for item in items(task, split) if len(item["choices"]) == count)
        assert not places or max(places.values()) - min(places[place] for place in range(count)) <= 1


@pytest.mark.parametrize("extreme", [max, min])
@pytest.mark.parametrize("split", SMALLEST)
@pytest.mark.parametrize("task", TASKS)
def test_length_gives_no_hint(task, split, extreme):
    """Who always takes the one longest (shortest) choice is right as often as chance would have it (4 sigma)."""
    hits, expected, variance = 0, 0.0, 0.0
    for item in items(task, split):
        lengths = [len(choice) for choice in item["choices"]]
        if lengths.count(extreme(lengths)) == 1:
            chance = 1 / len(lengths)
            hits += lengths[item["answer"]] == extreme(lengths)
            expected += chance
            variance += chance * (1 - chance)
    assert abs(hits - expected) <= 4 * math.sqrt(variance)


def test_the_generator_reproduces_the_committed_files(tmp_path):
    spec = importlib.util.spec_from_file_location("generate_embedded_tasks", CONFIG / "tasks" / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    generate.generate(tmp_path)
    for task in TASKS:
        for split in SMALLEST:
            new, committed = (folder / task / f"{split}.parquet" for folder in (tmp_path, CONFIG / "tasks"))
            assert pq.read_table(new).equals(pq.read_table(committed))
            if pq.read_metadata(new).created_by == pq.read_metadata(committed).created_by:  # else pyarrow's own bytes
                assert new.read_bytes() == committed.read_bytes()


@pytest.mark.parametrize("task", TASKS)
def test_yaml_names_existing_files(task):
    config = yaml.safe_load((CONFIG / "tasks" / f"{task}.yaml").read_text())
    assert config["task"] == task and config["output_type"] == "multiple_choice"
    files = config["dataset_kwargs"]["data_files"]
    for split in ("training", "validation", "test"):
        assert (CONFIG / "tasks" / files[config[f"{split}_split"]]).is_file()


def instructions() -> list[dict]:
    lines = (CONFIG / "instructions" / "basic.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_instructions_are_varied_and_short():
    rows = instructions()
    assert len(rows) >= 200
    for row in rows:
        assert set(row) == {"instruction", "input", "output"} and row["instruction"].strip(), row
        assert 1 <= len(row["output"].split()) <= 40, row
    assert len({(row["instruction"], row["input"]) for row in rows}) == len(rows)
    assert len({row["instruction"].split()[0] for row in rows}) >= 30


def test_instructions_hold_no_measured_item():
    measured = [*everything("validation"), *everything("test")]
    rows = [
        {
            "id": f"instruction {number}",
            "topic": "instruction",
            "question": f"{row['instruction']} {row['input']}",
            "choices": [row["output"]],
            "answer": 0,
        }
        for number, row in enumerate(instructions())
    ]
    assert not near_duplicates(rows, measured)
    texts = {" ".join(normalised(row)) for row in rows}
    assert not [item for item in measured if any(" ".join(normalised(item)) in text for text in texts)]
