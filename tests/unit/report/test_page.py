"""The page holds every result, is whole HTML, loads nothing, and runs nothing that a name brings."""

import json
import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from llamanas import artifacts
from llamanas.job import Job
from llamanas.report.page import rank_agreement, write_page
from llamanas.report.results import Results
from llamanas.report.summary import summarize
from llamanas.report.write import draw_all, write_report
from llamanas.settings import complete

VOID = {"meta", "br", "link", "img", "input", "hr"}
LOADS = {"src", "href", "xlink:href", "srcset", "data", "action", "poster"}


class Whole(HTMLParser):
    """Collects the text, the tags, the attributes that load, and what is not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.loads: list[str] = []
        self.identifiers: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [value or "" for name, value in attrs if name in LOADS]
        self.identifiers += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(results: Results, figures: dict, folder: Path) -> str:
    summary = summarize(results.picks, results.accuracy, results.speed, results.shape)
    write_page(folder / "index.html", results, summary, figures)
    return (folder / "index.html").read_text()


@pytest.fixture(scope="module")
def page(results: Results, figures: dict, tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(results, figures, tmp_path_factory.mktemp("page"))


def test_page_is_whole_and_loads_nothing(page: str) -> None:
    parsed = Whole(page)
    assert parsed.open == []
    assert {"title", "style", "svg", "table"} <= parsed.tags
    assert not parsed.tags & {"link", "img", "iframe", "object"} and page.count("<script") == 1
    assert all(value.startswith(("#", "../")) for value in parsed.loads)  # the latter are links to the run's files
    inside = {value[1:] for value in parsed.loads if value.startswith("#")}
    assert inside <= set(parsed.identifiers)
    assert len(set(parsed.identifiers)) == len(parsed.identifiers)
    assert not re.search(r"@import|url\((?!#)", page)
    named = re.findall(r"https?://([^/]+)", page)  # the namespaces of SVG, which nothing loads
    assert set(named) == {"www.w3.org"}


def test_page_is_equal_for_equal_tables(results: Results, figures: dict, page: str, tmp_path: Path) -> None:
    assert page_of(results, figures, tmp_path) == page


def test_page_has_every_task_pick_and_file(results: Results, page: str) -> None:
    sections = page.split("<h2>Task ")[1:]
    assert len(sections) == len(results.picks)
    for section, (task, picks) in zip(sections, results.picks.items(), strict=True):
        assert section.startswith(task)
        for row in picks:
            assert f'<tr><th scope="row">{row["pick"]}</th>' in section
        for precision in ("fp32", "int8"):
            for pick in ("full", "half_way"):
                assert f'<tr><th scope="row">{pick}<small>{precision}</small></th>' in section


def test_networks_have_the_score_that_the_front_was_chosen_by(results: Results, figures: dict, tmp_path: Path) -> None:
    shown = [row for front in results.fronts.values() for row in front]
    page = page_of(results, figures, tmp_path)
    for row in shown:
        accuracy = f"accuracy {100 * row['search_accuracy']:.1f}\u00a0%"
        expected = f"expected {row['expected_score']:.3f}"
        assert f"<span>{row['search_score']:.3f}<small>{accuracy}</small><small>{expected}</small>" in page
    settings = results.settings | {"select": results.settings["select"] | {"expected": False}}
    page = page_of(replace(results, settings=settings), figures, tmp_path)
    assert "<small>expected" not in page and f"<span>{shown[0]['search_score']:.3f}<small>accuracy" in page


@pytest.mark.parametrize(("low", "share"), [(0.33, 1), (0.34, 0)])
def test_an_accuracy_that_guessing_may_have_is_told(results, figures, tmp_path, low, share):
    accuracy = [row | {"accuracy_ci_low": low} for row in results.accuracy]
    guessed = replace(results, accuracy=accuracy, questions=dict.fromkeys(results.picks, [QUESTION]))
    words = " ".join(Whole(page_of(guessed, figures, tmp_path)).text.split())
    files = words.count("%, not shown to be better than guessing, which has 33.3 %")  # behind a pick's accuracy
    taken = words.count("saw, not shown to be better than guessing, which has 33.3 %")
    assert (taken, files, words.count("Take none")) == (share * len(results.picks),) * 3


def test_a_file_to_take_whose_network_was_worse_before_export_is_told(results, figures, tmp_path, page):
    assert "Before export" not in page
    picks = {task: [row | {"difference_ci_high": -0.001} for row in rows] for task, rows in results.picks.items()}
    words = " ".join(Whole(page_of(replace(results, picks=picks), figures, tmp_path)).text.split())
    assert words.count("less accurate than the full network, both in PyTorch") == len(picks)


def test_a_small_run_is_told(results, figures, tmp_path, page, monkeypatch):
    measured = max(map(len, results.archives.values()))
    assert f"A small run: no more than {measured} networks of a task were measured." in page
    monkeypatch.setattr("llamanas.report.page.SMALL", measured)
    assert "A small run" not in page_of(results, figures, tmp_path)


def test_the_ladder_stands_beside_the_front(results, figures, tmp_path, page):
    assert "Was it worth it?" not in page  # without a ladder
    rungs = [REFERENCE | {"task": task, "method": "ours"} for task in results.picks]
    rungs += [rung | {"method": method} for rung in rungs for method in ("pretrained", "finetuned")]
    half_way = next(iter(results.picks.values()))[2]["architecture"]
    with_ladder = replace(results, baselines=rungs, rungs=frozenset({half_way}))
    words = " ".join(Whole(page_of(with_ladder, figures, tmp_path)).text.split())
    assert "Was it worth it? Networks of the ladder that the fronts are compared with: 2; of like size" in words
    assert "Picks smaller than the full network: 6, of the ladder: 2." in words
    assert words.count("half_wayof the ladder") == 1 and words.count(f"{half_way}of the ladder") == 1
    assert words.count("the fine-tuned network has 44.4 % (40.1 to 48.8), the base model 44.4 %") == len(results.picks)


def test_a_replay_is_told_as_such(results: Results, figures: dict, tmp_path: Path) -> None:
    search = results.settings["search"] | {"algorithm": "replay", "replay": "published/{task}.parquet"}
    text = page_of(replace(results, settings=results.settings | {"search": search}), figures, tmp_path)
    words = " ".join(Whole(text).text.split())
    assert "the networks of another run (published/{task}.parquet) measured again, for the Pareto front" in words
    assert "generation 0 and" not in words.split("Search space")[1].split("Data")[0]


def test_the_search_space_tells_of_heads_where_there_is_a_choice(
    results: Results, figures: dict, tmp_path: Path
) -> None:
    settings = results.settings | {"space": results.settings["space"] | {"kv_heads": [2, 1]}}
    with_heads = " ".join(Whole(page_of(replace(results, settings=settings), figures, tmp_path)).text.split())
    assert "lose its attention, keep 1, 2 or all 3 of its key-value heads, have an MLP" in with_heads
    assert "key-value heads" not in " ".join(Whole(page_of(results, figures, tmp_path)).text.split())


def test_speeds_in_other_runtimes_are_shown_where_they_were_measured(
    results: Results, figures: dict, page: str, tmp_path: Path
) -> None:
    assert "timed elsewhere" not in page
    elsewhere = {"runtime": "onnxruntime 1.30 CUDA", "hardware": "a GPU", "batch": 8}
    faster = [
        row | elsewhere | {"decode_tokens_per_s": 1.25 * row["full_decode_tokens_per_s"]}
        for row in results.speed
        if (row["task"], row["pick"], row["precision"]) == ("mini_truthful", "half_way", "int8")
    ]
    both = replace(results, speed=[*results.speed, *faster])
    text = page_of(both, figures, tmp_path)
    shown = re.findall(r"<tr>(?:(?!</tr>).)*onnxruntime 1.30 CUDA.*?</tr>", text, re.DOTALL)
    assert len(shown) == 1 == text.count("timed elsewhere"), "only in the task whose pick it is"
    for words in ("half_way", "int8", "a GPU", "8, 128 tokens", "1.25×", "rounds 1.25 to 1.25", "100 against 80"):
        assert words in shown[0]
    rows = [summarize(each.picks, each.accuracy, each.speed, each.shape) for each in (results, both)]
    assert rows[0] == rows[1], "the table of files keeps to the first runtime"


def test_page_says_what_the_numbers_mean(results: Results, page: str) -> None:
    text = " ".join(Whole(page).text.split())
    noisy = sum(row["within_noise"] and row["pick"] != "full" for rows in results.picks.values() for row in rows)
    assert text.count("inside the noise of 300 questions: not shown to be less accurate") == noisy
    # Decoding was between 0.9 and 1.1 times as fast: twice in a task's table, and once in short.
    assert text.count("smaller, but not measurably faster in decode, faster in prefill") == 3 * len(results.picks)
    assert text.count("less accurate beyond the noise") == len(results.picks)
    assert text.count("no smaller network that was exported is as accurate") == len(results.picks)
    for words in ("160 search questions", "5 rounds", "Seed 2405", "a" * 64, "torch 2.13.0", "a CPU", "of 135 M)"):
        assert words in text


def test_page_tells_the_winners_curse(results: Results, figures: dict, tmp_path: Path) -> None:
    """Points are added to every member's search accuracy or taken from it: by many, choosing flatters them or not."""

    def told(change: float) -> list[tuple[float, str]]:
        fronts = {
            task: [row | {"search_accuracy": row["search_accuracy"] + change} for row in rows]
            for task, rows in results.fronts.items()
        }
        text = " ".join(Whole(page_of(replace(results, fronts=fronts), figures, tmp_path)).text.split())
        pattern = r"network is ([+-][0-9.]+) points on the questions that they were chosen on and \S+ on the others,"
        pattern += r" a shift of \S+, plus meaning that they did better on the former \(\S+ to \S+ at the widest\)"
        pattern += r"(: choosing|, which|: the other)"
        return [(float(found), words) for found, words in re.findall(pattern, text.replace("\u2212", "-"))]

    more, less = told(0.5), told(-0.5)
    assert [words for _, words in more] == [": choosing"] * len(results.fronts)
    assert [words for _, words in less] == [": the other"] * len(results.fronts)
    assert [words for _, words in told(0)] == [", which"] * len(results.fronts)
    assert [a - b for (a, _), (b, _) in zip(more, less, strict=True)] == pytest.approx([100] * len(more))


def test_noise_words_follow_the_table(results: Results, figures: dict, tmp_path: Path) -> None:
    picks = {task: [row | {"within_noise": True} for row in rows] for task, rows in results.picks.items()}
    assert "less accurate than the full network" not in page_of(replace(results, picks=picks), figures, tmp_path)
    picks = {task: [row | {"within_noise": False} for row in rows] for task, rows in results.picks.items()}
    assert "inside the noise of " not in page_of(replace(results, picks=picks), figures, tmp_path)


def test_a_run_without_training_and_without_exported_picks(results: Results, figures: dict, tmp_path: Path) -> None:
    full_only = {name: [r for r in getattr(results, name) if r["pick"] == "full"] for name in ("accuracy", "speed")}
    stages = {stage: results.settings[stage] | {"steps": 0} for stage in ("finetune", "supernet")}
    bare = replace(results, losses=[], settings=results.settings | stages, **full_only)
    drawn = {name: figure for name, figure in figures["training"].items() if name != "losses"}
    untrained = figures | {"training": drawn}
    text = page_of(bare, untrained, tmp_path)
    assert "No training was done" in text and "No sub-network was exported" in text
    assert "the sub-networks use the full network's weights as they are" in text and "Healing: " not in text
    assert Whole(text).open == []


def healed(task: str, pick: str, before: float, after: float) -> dict:
    row = {"task": task, "pick": pick, "architecture": "abc", "parameters": 90_000_000, "n": 300}
    for name, accuracy in (("before", before), ("after", after)):
        row |= {f"accuracy_{name}": accuracy, f"{name}_ci_low": accuracy - 0.05, f"{name}_ci_high": accuracy + 0.05}
    difference = after - before
    for name, value in (("difference", difference), ("full_difference", difference - 0.1)):
        row |= {name: value, f"{name}_ci_low": value - 0.02, f"{name}_ci_high": value + 0.02}
    return row


def test_healing_is_told_where_it_was_done(results: Results, figures: dict, page: str, tmp_path: Path) -> None:
    rows = [healed("mini_truthful", *row) for row in (("knee", 0.4, 0.47), ("half_way", 0.3, 0.41), ("tiny", 0.2, 0.5))]
    heal = {"heal": results.settings["heal"] | {"steps": 12}}
    text = page_of(replace(results, healing=rows, settings=results.settings | heal), figures, tmp_path)
    assert Whole(text).open == [] and "Healing: " not in page and "healed" not in page
    assert "Each exported pick was then healed alone for 12 steps." in text
    other, own = text.split("<h2>Task ")[1:]
    assert "Healing: " not in other
    table = own.split("Healing: ")[1].split("</table>")[0]
    assert "before and after: -0.33." in table  # of three pairs, one keeps its order
    for words in ("knee", "40.0", "47.0", "+7.0", "half_way", "+11.0", "+9.0", "+13.0", "tiny"):
        assert words in table
    picks = own.split("<caption>The picks")[1].split("</table>")[0].replace("\N{MINUS SIGN}", "-")
    assert "and, where exported, after healing" in picks
    assert "inside the noise" in picks.split(">half_way</th>")[1].split("</tr>")[0]
    for words in ("41.0", "+1.0", "-1.0 to +3.0"):  # of half_way: after healing, against the full network
        assert words in picks, words


def test_rank_agreement_is_kendalls_tau() -> None:
    def agreement(*pairs: tuple[float, float]) -> float | None:
        return rank_agreement([healed("task", "pick", *pair) for pair in pairs])

    assert agreement((0.1, 0.4), (0.2, 0.5), (0.3, 0.6)) == pytest.approx(1)
    assert agreement((0.1, 0.6), (0.2, 0.5), (0.3, 0.4)) == pytest.approx(-1)
    assert agreement((0.1, 0.4), (0.1, 0.5), (0.3, 0.6)) == pytest.approx(2 / 6**0.5)  # a tie in one of them
    assert agreement((0.1, 0.4), (0.2, 0.5)) is None
    assert agreement((0.1, 0.4), (0.1, 0.5), (0.1, 0.6)) is None


def test_a_task_name_is_text_and_not_markup(malicious: Results, tmp_path: Path) -> None:
    (task,) = malicious.picks
    text = page_of(malicious, draw_all(malicious), tmp_path)
    parsed = Whole(text)
    assert text.count("<script") == 1 and parsed.open == []
    assert f"Task {task}" in parsed.text
    assert escape(task, quote=False).split("&amp;")[0] in text.replace("&#34;", '"')


def test_write_report_reads_and_writes_artifacts(results: Results, figures: dict, tmp_path: Path) -> None:
    """The tables of each task are taken in the order of the configuration."""
    tasks = results.settings["tasks"]
    tables = {"accuracy": results.accuracy, "speed": results.speed, "losses": results.losses}
    tables |= {"healing": [healed(task, "half_way", 0.5, 0.531) for task in tasks]}
    tables |= {
        "baselines": [REFERENCE | {"task": task, "method": m} for task in tasks for m in ("pretrained", "finetuned")]
    }
    tables |= {"importance": results.importance, "space": SPACE, "manifest": results.manifests["the super-network"]}
    inputs: dict = {}
    for name, rows in tables.items():
        several = name in ("accuracy", "speed", "losses", "healing")
        path = tmp_path / f"{name}.parquet"
        inputs[name] = [str(path)] if several else str(path)
        write(path, name, rows)
    for name, by_task in (("archive", results.archives), ("front", results.fronts), ("picks", results.picks)):
        inputs[name] = [str(tmp_path / f"{name}-{task}") for task in tasks]
        for task in tasks:
            write(tmp_path / f"{name}-{task}", name, by_task[task])
    inputs["questions"] = [str(tmp_path / f"questions-{task}") for task in tasks]
    for path in inputs["questions"]:
        write(Path(path), "questions", [QUESTION])
    inputs["config"] = str(tmp_path / "config.json")
    Path(inputs["config"]).write_text(
        '{"model_type": "llama", "num_hidden_layers": 30, "hidden_size": 576, "intermediate_size": 1536, "vocab_size": '
        '49152, "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": true}'
    )
    outputs: dict = {"summary": str(tmp_path / "summary.parquet"), "page": str(tmp_path / "index.html")}
    outputs |= {"configuration": str(tmp_path / "experiment.json")}
    for kind in ("fronts", "architectures", "probabilities"):
        outputs[kind] = [str(tmp_path / f"{kind}-{task}.svg") for task in tasks]
    params = {"seed": 2405, "settings": results.settings, "logs": str(tmp_path / "no logs")}
    write_report(Job(SimpleNamespace(input=inputs, output=outputs, wildcards={}, params=params, rule="report")))
    summary = artifacts.read_table(outputs["summary"], "summary").to_pylist()
    assert summary == summarize(results.picks, results.accuracy, results.speed, results.shape)
    asked = draw_all(replace(results, questions=dict.fromkeys(tasks, [QUESTION])))
    for task, path in zip(tasks, outputs["fronts"], strict=True):
        assert Path(path).read_text() == asked["fronts"][task] != figures["fronts"][task]  # where guessing gets one
    text = Whole(Path(outputs["page"]).read_text()).text
    assert "What it cost" not in text  # nothing is known of it
    assert text.count("the base model has 44.4\u00a0% (40.1 to 48.8)") == len(tasks)
    example = "“Which is a bird?” Choices: owl | <b> | ant. Right: owl. By chance 33.3\u00a0% would be right."
    assert " ".join(text.split(" ")).replace("\n", " ").count(example) == len(tasks)
    assert complete(json.loads(Path(outputs["configuration"]).read_text())) == results.settings
    assert "somepackage 1.0" in text and text.count("53.1") == 2 * len(tasks)
    assert artifacts.provenance_of(pq.read_table(outputs["summary"]))["stage"] == "report"


QUESTION = {
    "item": "1", "kind": "multiple_choice", "split": "report", "source_split": "test", "prefix": [1],
    "branches": [[2]] * 3, "scored": [1] * 3, "lengths": [3] * 3, "gold": [0], "weight": 1.0,
    "context_text": "Which is a bird?", "choice_texts": ["owl", "<b>", "ant"],
}  # fmt: skip
REFERENCE = {
    "seed": 2405, "size_ratio": 1.0, "parameters": 134_515_008, "training_tokens": 0, "accuracy": 0.444,
    "ci_low": 0.401, "ci_high": 0.488, "n": 300,
}  # fmt: skip
COSTS = {"parameters": 1, "macs_per_token": 1}
SPACE = [
    {"layer": layer, "choice": choice, "kv_heads": 3, "intermediate_size": width} | COSTS
    for layer in range(30)
    for choice, width in enumerate((512, 1536))
]


def write(path: Path, name: str, rows: list[dict]) -> None:
    artifacts.write_table(path, name, artifacts.table_of(name, rows), {"packages": {"somepackage": "1.0"}})
