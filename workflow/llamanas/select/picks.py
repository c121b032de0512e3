"""Named choices from the front, made on the search split alone."""

from llamanas.errors import LlamaNasError


def full_id(archive: list[dict]) -> str:
    """Identifier of the full network, the first candidate of generation 0.

    Raises:
        LlamaNasError: it was not measured.
    """
    for row in archive:
        if row["origin"] == "full":
            return row["architecture"]
    raise LlamaNasError("the archive lacks the full network, which every choice is compared with. Search again.")


def pick(
    archive: list[dict], front: list[dict], full: str, settings: dict[str, dict], cost: str, score: str
) -> dict[str, dict]:
    """The archive's row of each named pick; two names may choose the same architecture.

    Rules: ``full`` is the full network. ``knee`` is the front member farthest above the line between the front's ends,
    both axes scaled to the front's range; if none is above it, the one with the best score. ``smallest_within`` is the
    cheapest of front and full network whose search accuracy is at most ``points`` percentage points below the full
    network's; the full network itself always is. ``cost_share`` is the front member with the best score among those
    that cost at most ``share`` of the full network; if none is that small, the cheapest, and the log says so.

    Args:
        archive: all measured architectures.
        front: its Pareto front, by rising cost.
        full: identifier of the full network.
        settings: ``select.picks`` of the config.
        cost: column to minimize.
        score: column to maximize.

    Raises:
        LlamaNasError: the full network was not measured, or a rule lacks its number.
    """
    reference = next((row for row in archive if row["architecture"] == full), None)
    if reference is None:
        raise LlamaNasError(f"the full network {full} is not in the archive, but picks are compared with it")
    chosen = {}
    for name, rule in settings.items():
        if rule["rule"] == "full":
            chosen[name] = reference
        elif rule["rule"] == "knee":
            chosen[name] = _knee(front, cost, score)
        elif rule["rule"] == "smallest_within":
            chosen[name] = _smallest_within([*front, reference], reference, _number(name, rule, "points"), cost)
        elif rule["rule"] == "cost_share":
            chosen[name] = _within_cost(name, front, _number(name, rule, "share") * reference[cost], cost)
        else:
            raise LlamaNasError(f"select.picks.{name}: unknown rule {rule['rule']!r}")
    return chosen


def pick_rows(picks: dict[str, dict], reported: list[dict]) -> list[dict]:
    """Rows of artifact ``picks``: the name of each pick with its architecture's reported row."""
    rows = {row["architecture"]: row for row in reported}
    return [{"pick": name} | rows[row["architecture"]] for name, row in picks.items()]


def _number(name: str, rule: dict, key: str) -> float:
    if key not in rule:
        raise LlamaNasError(f"select.picks.{name}: rule {rule['rule']!r} needs the number {key!r}")
    return rule[key]


def _knee(front: list[dict], cost: str, score: str) -> dict:
    low, high = front[0], front[-1]

    def height(row: dict) -> tuple[float, float]:
        """Height above the line in units of the front's range, the largest of which is the farthest from the line."""
        along = (row[cost] - low[cost]) / (high[cost] - low[cost] or 1)
        return (row[score] - low[score]) / (high[score] - low[score] or 1) - along, row[score]

    inner = [row for row in front if height(row)[0] > 1e-9]
    return max(inner, key=height) if inner else high


def _smallest_within(rows: list[dict], full: dict, points: float, cost: str) -> dict:
    lowest = full["search_accuracy"] - points / 100 - 1e-9  # accuracies are ratios: allow for rounding
    good = [row for row in rows if row["search_accuracy"] >= lowest]
    return min(good, key=lambda row: (row[cost], -row["search_accuracy"], row["architecture"]))


def _within_cost(name: str, front: list[dict], limit: float, cost: str) -> dict:
    small = [row for row in front if row[cost] <= limit]
    if not small:
        print(f"select.picks.{name}: no member of the front has {cost} <= {limit:.0f}; taking the cheapest")
        return front[0]
    return small[-1]
