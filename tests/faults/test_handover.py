"""A flipped bit or a missing end in a file that one stage hands to another: the next one names the file and stops."""

import random
from pathlib import Path

import pytest

from rule_runner import RULES, run_script

HANDED = (".parquet", ".safetensors", ".onnx", ".data")


def flipped(content: bytes, draw: random.Random) -> bytes:
    place, bit = draw.randrange(len(content)), draw.randrange(8)
    return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


def cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))]


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "fetch_model"])
def test_damage_is_named(copy, job, rule):
    draw = random.Random(rule)
    inputs = [job.input[name] for name in job.input.keys()] or [*job.input]  # record_run's have no names
    firsts = [value if isinstance(value, str) else next(iter(value), "") for value in inputs]
    files = [Path(copy, file) for file in dict.fromkeys(map(str, firsts)) if file.endswith(HANDED)]
    assert files
    made = {path: (copy / path).read_bytes() for path in job.output}
    for file in files:
        sound = file.read_bytes()
        for damage in (flipped, cut):
            file.write_bytes(damage(sound, draw))
            ended = run_script(copy, job)
            assert ended.status == 1, (file, damage.__name__)
            message = ended.words[ended.words.rindex("error: ") :]
            assert str(file.relative_to(copy)) in message and len(message.splitlines()) <= 5, ended.words
            assert "Traceback" not in ended.words
        file.write_bytes(sound)
    assert {path: (copy / path).read_bytes() for path in job.output} == made
    assert not [*copy.rglob("*.part")]


def test_every_rule_of_the_experiment_is_tried(finished):
    assert {path.name.split(".")[0] for path in (finished / "logs").iterdir()} == set(RULES)
