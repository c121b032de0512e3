"""The answer to whether tasks want different networks follows the intervals."""

import pytest

from llamanas.report.transfer import transfer_tables, transfer_verdict


def rows(*bounds: tuple[float, float]) -> list[dict]:
    """The picks of two searches on two tasks; the bounds are of the picks that were searched for the other task."""
    given = iter(bounds)
    found = []
    for searched in ("a", "b"):
        for task in ("a", "b"):
            for pick in ("full", "knee"):
                low, high = next(given) if pick == "knee" and searched != task else (0.0, 0.0)
                about = {"pick": pick, "searched": searched, "task": task, "architecture": searched}
                about["parameters"] = 700 if searched == "a" else 701
                found.append(about | {"own_difference_ci_low": low, "own_difference_ci_high": high})
    return found


def test_a_table_has_a_row_for_each_search_and_a_column_for_each_task():
    (table,) = transfer_tables(rows((-1, 0), (0, 1)))
    assert (table["pick"], table["tasks"]) == ("knee", ["a", "b"])
    assert [(row["searched"], row["parameters"]) for row in table["rows"]] == [("a", 700), ("b", 701)]
    assert [[cell["task"] for cell in row["cells"]] for row in table["rows"]] == [["a", "b"]] * 2
    assert transfer_tables([]) == []


@pytest.mark.parametrize(
    ("bounds", "counts", "end"),
    [
        (
            ((-0.1, 0.1), (-0.2, 0.0)),
            "0 are measurably less",
            "does not show that different tasks want different networks.",
        ),
        (((-0.3, -0.1), (-0.2, 0.1)), "1 are measurably less", "different networks."),
        (
            ((-0.3, -0.1), (0.1, 0.2)),
            "1 measurably more",
            "does not show that different tasks want different networks.",
        ),
    ],
)
def test_what_is_inside_the_noise_shows_nothing(bounds, counts, end):
    told = transfer_verdict(rows(*bounds), 0.95)
    assert told.startswith("Of 2 picks") and counts in told and told.endswith(end)


def test_few_losses_among_many_picks_are_what_chance_gives():
    less, same = (-0.3, -0.1), (-0.1, 0.1)
    many = [row for bounds in [(less, same)] * 4 + [(same, same)] * 26 for row in rows(*bounds)]
    told = transfer_verdict(many, 0.95)
    assert told.startswith("Of 60 picks") and "4 are measurably less" in told
    assert "1.5 would lie below zero by chance, and 4 or more with probability 0.06" in told and "does not show" in told
    assert transfer_verdict([row for _ in range(8) for row in rows(less, same)], 0.95).endswith(
        "speaks for different networks."
    )


@pytest.mark.parametrize("change", [{"architecture": "b"}, {"parameters": 720}, {"parameters": 680}])
def test_the_same_network_and_one_of_another_size_do_not_tell_of_wants(change):
    given = [
        row | change if (row["searched"], row["pick"]) == ("a", "knee") else row
        for row in rows((-0.3, -0.1), (-0.3, -0.1))
    ]
    assert transfer_verdict(given, 0.95).startswith("Of 2 picks taken to another task, 0 are another network")
    assert transfer_verdict(given, 0.95).endswith("does not show that different tasks want different networks.")
