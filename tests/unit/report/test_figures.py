"""Figures are well-formed, equal for equal tables, and show what the tables say."""

import re
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from llamanas.report.comparison import draw_comparison
from llamanas.report.figures import draw_architectures, draw_importance, draw_losses
from llamanas.report.front import draw_front
from llamanas.report.probabilities import draw_probabilities, shares
from llamanas.report.progress import draw_progress, volumes
from llamanas.report.results import Results
from llamanas.report.strip import strip
from llamanas.report.style import themed
from llamanas.report.words import network_id
from llamanas.report.write import draw_all

SVG = "{http://www.w3.org/2000/svg}"


def front_of(results: Results, task: str, score: str = "search_score", chance: float | None = None) -> str:
    rows = results.archives[task], results.fronts[task], results.picks[task]
    return draw_front(task, *rows, results.shape, score, chance)


def architectures_of(results: Results, task: str) -> str:
    return draw_architectures(task, results.picks[task], results.shape)


def words_of(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_figures_are_equal_for_equal_tables_and_differ_for_others(results: Results, figures: dict) -> None:
    assert draw_all(results) == figures
    task = "mini_truthful"
    better = [row | {"report_accuracy": row["report_accuracy"] + 0.01} for row in results.fronts[task]]
    assert front_of(replace(results, fronts={task: better}), task) != front_of(results, task)


def test_figures_hold_no_date_and_nothing_from_outside(figures: dict) -> None:
    for group in figures.values():
        for svg in group.values():
            root = ElementTree.fromstring(svg)
            assert root.get("aria-label")
            assert not list(root.iter(f"{SVG}metadata"))
            links = [value for element in root.iter() for name, value in element.items() if name.endswith("href")]
            assert all(link.startswith("#") for link in links)


def test_every_network_of_a_front_is_pointed_at_and_leads_to_its_row(results: Results) -> None:
    task = "mini_truthful"
    root = ElementTree.fromstring(front_of(results, task))
    marks = [element for element in root.iter(f"{SVG}a")]
    members = {row["architecture"] for row in [*results.fronts[task], *results.picks[task]]}
    targets = {mark.get("href") for mark in marks} - {None}
    assert targets == {f"#{network_id(task, member)}" for member in members}
    titles = [mark.findtext(f"{SVG}title") or "" for mark in marks]
    for row in results.archives[task]:
        assert any(title.startswith(f"{row['architecture']} ({row['origin']})") for title in titles)
    assert not [mark for mark in marks if mark.get("target")]


def test_a_page_may_set_the_colours_of_a_drawing(figures: dict) -> None:
    svg = figures["fronts"]["mini_truthful"]
    assert "var(" not in svg and "fill: var(--figure-ink, #222222)" in themed(svg)
    assert not re.search(r"(fill|stroke): #(222222|ffffff|767676|e6e6e6|0072b2)", themed(svg))


def test_probabilities_are_shares_of_the_members(results: Results) -> None:
    front, layers = results.fronts["mini_truthful"], range(results.shape.layers)
    widths, heads = shares(front, "intermediate_sizes"), shares(front, "kv_heads")
    for of_sizes in (widths, heads):
        assert {round(sum(of_size[layer] for of_size in of_sizes.values()), 9) for layer in layers} == {1.0}
    assert widths[1536][3] == sum(row["intermediate_sizes"][3] == 1536 for row in front) / len(front)
    assert heads[3][0] == 1 and heads[3][5] == sum(row["kv_heads"][5] == 3 for row in front) / len(front)
    words = words_of(draw_probabilities("mini_truthful", front, results.shape))
    assert {"no MLP", "MLP 512 wide", "MLP 1024 wide", "MLP 1536 wide", "attention kept"} <= set(words)


def test_attentions_with_fewer_heads_are_drawn_lower(results: Results) -> None:
    front = [row | {"kv_heads": [3, *([1] * 29)]} for row in results.fronts["mini_truthful"]]
    words = words_of(draw_probabilities("mini_truthful", front, results.shape))
    assert {"1 of 3 KV heads", "3 of 3 KV heads"} <= set(words)
    boxes = ElementTree.fromstring(strip(front[0], results.shape)).findall("rect[@class='attention']")
    assert [box.get("height") for box in boxes] == ["5"] + ["1.67"] * 29
    importance = [
        {"layer": layer, "kind": "attention", "index": n, "score": 0.1} for layer in range(30) for n in (0, 1)
    ]
    assert {"attention removed", "KV heads kept: 1"} <= set(words_of(draw_importance(importance)))


def test_comparison_names_every_method_once(results: Results) -> None:
    one = {"task": "mini_truthful", "seed": 1, "parameters": 90_000_000, "size_ratio": 1.5, "n": 300}
    one |= {"accuracy": 0.5, "ci_low": 0.45, "ci_high": 0.55, "training_tokens": 100}
    rows = [one | {"method": method} for method in ("taylor", "uniform_width", "ours", "uniform_width")]
    words = words_of(draw_comparison("mini_truthful", rows, results.picks["mini_truthful"], 0.25))
    for name in ("taylor", "uniform width", "ladder, no search", "picks of this search", "guessing"):
        assert words.count(name) == 1


def test_fronts_show_what_guessing_has(results: Results) -> None:
    assert "guessing" in words_of(front_of(results, "mini_truthful", chance=0.25))
    assert "guessing" not in words_of(front_of(results, "mini_truthful"))


def test_identifiers_of_figures_do_not_collide(figures: dict) -> None:
    """They stand in one page, where a reference finds the first element of its name."""
    seen: set[str] = set()
    for group in figures.values():
        for svg in group.values():
            root = ElementTree.fromstring(svg)
            identifiers = [element.get("id") for element in root.iter() if element.get("id")]
            assert len(set(identifiers)) == len(identifiers)
            assert not seen & set(identifiers)
            seen |= set(identifiers)
            referenced = {part.split(")")[0] for part in svg.split("url(#")[1:]}
            references = {part.split('"')[0] for part in svg.split('href="#')[1:]}
            referenced |= {name for name in references if not name.startswith("network-")}  # these are in the page
            assert referenced and referenced <= set(identifiers)


def test_front_names_picks_units_and_numbers_of_questions(results: Results) -> None:
    words = words_of(front_of(results, "mini_truthful"))
    assert {"full", "knee, half_way", "smallest_within_1pt"} <= set(words)
    assert {"accuracy (%)", "parameters (millions)", "search score"} <= set(words)
    assert {"Report split, 300 questions", "Search split, 160 other questions"} <= set(words)
    assert "search accuracy (%)" in words_of(front_of(results, "mini_truthful", "search_accuracy"))


def test_front_marks_only_what_is_there(results: Results) -> None:
    task = "mini_truthful"
    labels = {True: "within noise of full", False: "differs from full"}
    for within in labels:
        tables = {
            name: {task: [row | {"within_noise": within} for row in getattr(results, name)[task]]}
            for name in ("fronts", "picks")
        }
        words = words_of(front_of(replace(results, **tables), task))
        assert labels[within] in words and labels[not within] not in words


def test_a_front_of_the_full_network_alone(results: Results) -> None:
    task, full = "mini_truthful", results.shape.full.id
    alone = {
        name: {task: [row for row in getattr(results, name)[task] if row["architecture"] == full]}
        for name in ("archives", "picks")
    }
    alone["fronts"] = alone["picks"]
    assert "full network" in words_of(front_of(replace(results, **alone), task))


def test_architectures_share_a_panel_where_equal(results: Results) -> None:
    words = " ".join(words_of(architectures_of(results, "mini_truthful")))
    for row in results.picks["mini_truthful"]:
        assert f"{row['depth']}/30 layers, {row['parameters'] / 1e6:.3g} M parameters" in words
    assert "knee, half_way: " in words


def test_architecture_shows_each_kept_sublayer_once(results: Results) -> None:
    """Blue and orange boxes are counted by their fill, apart from the legend's two."""
    pick = next(row for row in results.picks["mini_truthful"] if row["pick"] == "half_way")
    svg = draw_architectures("mini_truthful", [pick], results.shape)
    assert svg.count("fill: #0072b2") == sum(map(bool, pick["intermediate_sizes"])) + 1
    assert svg.count("fill: #e69f00") == sum(map(bool, pick["kv_heads"])) + 1


def test_losses_of_one_kind_make_one_panel(results: Results) -> None:
    kinds = {
        "fine-tuning of the full network": ("finetune", True),
        "super-network: full network": ("train_supernet", True),
        "super-network: sampled sub-networks": ("train_supernet", False),
    }
    assert words_of(draw_losses(results.losses)).count("loss (nats per token)") == len(kinds)
    for title, kind in kinds.items():
        one = [row for row in results.losses if (row["stage"], row["subnet"] == "full") == kind]
        words = words_of(draw_losses(one))
        assert words.count("loss (nats per token)") == 1
        assert [word for word in words if word.split(";")[0] in kinds] == [f"{title}; line: mean of 5"]


def test_progress_rises_to_the_final_hypervolume(results: Results) -> None:
    archive = results.archives["mini_truthful"]
    shares = volumes(archive, "parameters", "search_score")
    assert shares == sorted(shares) and shares[0] < shares[-1] == 1 and len(shares) == len(archive)
    points = (100, -0.5), (50, -1), (60, -0.5), (50, -0.75)  # the first is the full network
    rows = [{"cost": cost, "score": score, "origin": "full" if cost == 100 else "x"} for cost, score in points]
    assert volumes(rows, "cost", "score") == pytest.approx([0, 0, 0.2 / 0.225, 1])
    assert volumes(rows[:1], "cost", "score") == [0]
    assert set(results.archives) <= set(words_of(draw_progress(results.archives, "parameters", "search_score")))


def test_importance_shows_sublayers_without_the_channels(results: Results) -> None:
    words = words_of(draw_importance(results.importance))
    assert {"attention removed", "MLP removed", "MLP 512 wide", "MLP 1024 wide"} <= set(words)
    sublayers = [row for row in results.importance if row["kind"] != "channel"]
    assert draw_importance(sublayers) == draw_importance(results.importance)


@pytest.mark.parametrize("draw", [front_of, architectures_of])
def test_a_name_is_text_and_not_markup(malicious: Results, draw: Callable[[Results, str], str]) -> None:
    (task,) = malicious.picks
    svg = draw(malicious, task)
    assert not list(ElementTree.fromstring(svg).iter(f"{SVG}script"))
    assert "<script" not in svg
