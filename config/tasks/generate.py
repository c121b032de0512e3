"""Writes the Parquet files of the embedded tasks from the tables of facts in ``facts/``.

``python config/tasks/generate.py`` rewrites them all; equal tables give equal files. A table is read like this::

    [topic]                                what follows belongs to this topic
    ask: {subject} is used for             one way to ask; without any, the subject is the whole question
    ask: What do you need for {answer}?    the other direction: the subject is the right choice
    wrong: other blocks                    where wrong choices come from; the default is `same block`
    a hammer | driving nails               subject | answer
    apple; plum | fruit                    several subjects with one answer are as many facts
    Ice is | cold | hot; dry; loud         a fact with its own wrong choices: of fewer than three, one is used

Blank lines divide a topic into blocks. Lines that start with # are comments.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from llamanas.randomness import seed_for, shuffled_by_hash

TASKS = ("mini_commonsense", "mini_language", "mini_truthful")
# Facts are dealt to the splits in this order. A training fact is asked in several ways, the others in one, so that the
# measured items are independent of each other and training still gets enough.
DEAL = ("test", "validation", "test", "train", "test", "validation", "train") * 2
TRAIN_PHRASINGS = 3
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("topic", pa.string()),
        ("question", pa.string()),
        ("choices", pa.list_(pa.string())),
        ("answer", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Fact:
    """One row of a table; ``wrong`` is empty where other facts give the wrong choices."""

    subject: str
    answer: str
    wrong: tuple[str, ...]
    block: int


@dataclass(frozen=True)
class Topic:
    """Facts of one kind, the ways to ask for them, and where their wrong choices come from."""

    name: str
    asks: tuple[str, ...]
    other_blocks: bool
    facts: tuple[Fact, ...]


def read_topics(path: Path) -> Iterator[Topic]:
    """The topics of a table, in its order."""
    for section in ("\n" + path.read_text()).split("\n[")[1:]:
        name, _, body = section.partition("]\n")
        asks, facts, other_blocks, block = [], [], False, 0
        for line in body.splitlines():
            if not line.strip():
                block += 1
            elif line.startswith("ask:"):
                asks.append(line.removeprefix("ask:").strip())
            elif line.startswith("wrong:"):
                other_blocks = line.removeprefix("wrong:").strip() == "other blocks"
            elif not line.startswith("#"):
                facts += _facts(line, block)
        yield Topic(name, tuple(asks) or ("{subject}",), other_blocks, tuple(facts))


def _facts(line: str, block: int) -> list[Fact]:
    subjects, answer, *wrong = (cell.strip() for cell in line.split("|"))
    own = tuple(choice.strip() for choice in wrong[0].split(";")) if wrong else ()
    return [
        Fact(subject, answer, own, block) for subject in ([subjects] if own else map(str.strip, subjects.split(";")))
    ]


def task_items(task: str, topics: list[Topic]) -> dict[str, list[dict]]:
    """The items of each split; the right choice stands equally often at each place and length rank."""
    splits: dict[str, list[dict]] = {split: [] for split in dict.fromkeys(DEAL)}
    ranks: dict[tuple[str, int], Counter] = {}
    dealt = 0
    for topic in topics:
        facts = {f"{fact.subject}|{fact.answer}": fact for fact in topic.facts}
        order = shuffled_by_hash(list(facts), task, topic.name)
        split_of = {facts[key]: DEAL[(dealt + place) % len(DEAL)] for place, key in enumerate(order)}
        dealt += len(order)
        for number, (fact, split) in enumerate(split_of.items()):
            start = number % len(topic.asks)
            asks = (topic.asks[start:] + topic.asks[:start])[: TRAIN_PHRASINGS if split == "train" else 1]
            for ask in asks:
                right, wrong = _choices(topic, fact, ask, split_of)
                count = 1 if len(wrong) < 3 else 3
                key = f"{task}/{topic.name}/{ask}/{fact.subject}/{fact.answer}"
                taken = _balanced(
                    right, shuffled_by_hash(wrong, key), count, ranks.setdefault((split, count), Counter())
                )
                question = ask.format(subject=fact.subject, answer=fact.answer)
                splits[split].append(_item(key, topic.name, question, right, shuffled_by_hash(taken, key, "order")))
    return {split: _placed(items) for split, items in splits.items()}


def _choices(topic: Topic, fact: Fact, ask: str, split_of: dict[Fact, str]) -> tuple[str, list[str]]:
    """The right choice and the possible wrong ones."""
    side = "answer" if "{answer}" not in ask else "subject"
    right = getattr(fact, side)
    if fact.wrong:
        return right, list(fact.wrong)
    pool = [other for other in topic.facts if (other.block != fact.block) == topic.other_blocks and not other.wrong]
    # What training shows as right is no wrong choice of the measured items, if there are enough others.
    unseen = [other for other in pool if split_of[fact] == "train" or split_of[other] != "train"]
    for others in (unseen, pool):
        wrong = list(dict.fromkeys(getattr(other, side) for other in others if other.answer != fact.answer))
        if len(wrong) >= 3:
            return right, wrong
    raise ValueError(f"{topic.name}: too few wrong choices for {fact.subject} | {fact.answer}")


def _balanced(right: str, wrong: list[str], count: int, ranks: Counter) -> list[str]:
    """The first ``count`` wrong choices that make the right one's length rank, of those possible, the rarest so far."""

    def length(choice: str) -> tuple[int, int]:
        return len(choice), seed_for(0, right, choice)

    shorter = [choice for choice in wrong if length(choice) < length(right)]
    longer = [choice for choice in wrong if length(choice) >= length(right)]
    possible = [rank for rank in range(count + 1) if rank <= len(shorter) and count - rank <= len(longer)]
    rank = min(possible, key=lambda rank: (ranks[rank], seed_for(0, right, rank)))
    ranks[rank] += 1
    return shorter[:rank] + longer[: count - rank]


def _item(key: str, topic: str, question: str, right: str, wrong: list[str]) -> dict:
    identifier = f"{topic}-{seed_for(0, key):016x}"
    return {
        "id": identifier,
        "topic": topic,
        "question": question[0].upper() + question[1:],
        "choices": [right, *wrong],
    }


def _placed(items: list[dict]) -> list[dict]:
    """The items in hash order, the right choice moved to each place in turn."""
    by_id = {item["id"]: item for item in items}
    seen: Counter = Counter()
    placed = []
    for identifier in shuffled_by_hash(list(by_id), "order"):
        item = by_id[identifier]
        right, *wrong = item["choices"]
        answer = seen[len(wrong)] % (len(wrong) + 1)
        seen[len(wrong)] += 1
        placed.append({**item, "choices": [*wrong[:answer], right, *wrong[answer:]], "answer": answer})
    return placed


def generate(folder: Path) -> None:
    """Writes ``<task>/<split>.parquet`` of every task under ``folder``."""
    for task in TASKS:
        topics = list(read_topics(Path(__file__).parent / "facts" / f"{task}.txt"))
        (folder / task).mkdir(parents=True, exist_ok=True)
        for split, items in task_items(task, topics).items():
            pq.write_table(pa.Table.from_pylist(items, schema=SCHEMA), folder / task / f"{split}.parquet")
            print(f"{task}/{split}.parquet: {len(items)} items")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
