"""Numbers and findings in plain words, the same wherever the page has them."""

import hashlib

from markupsafe import Markup

from llamanas.report.summary import FULL, Ratio

_SPACE = "\u00a0"


def percent(share: float) -> str:
    """A share as a percentage with one decimal."""
    return f"{100 * share:.1f}{_SPACE}%"


def interval(low: float, high: float) -> str:
    """A confidence interval of a share, in percent."""
    return f"{100 * low:.1f} to {100 * high:.1f}"


def points(difference: float) -> str:
    """A difference of two shares in percentage points, with its sign."""
    return f"{100 * difference:+.1f}".replace("-", "\u2212")


def millions(count: int) -> str:
    """A number of parameters in millions, to three digits."""
    return f"{count / 1e6:,.0f}{_SPACE}M" if count >= 1e8 else f"{count / 1e6:.3g}{_SPACE}M"


def megabytes(count: int) -> str:
    """A size in megabytes of a million bytes, to three digits."""
    return f"{count / 1e6:,.0f}{_SPACE}MB" if count >= 1e8 else f"{count / 1e6:.3g}{_SPACE}MB"


def count(number: int) -> Markup:
    """A whole number, as a power of ten from a million million on."""
    if number < 10**12:
        return Markup(f"{number:,}")
    power = len(str(number)) - 1
    return Markup(f"about {number / 10**power:.1f}\u00d710<sup>{power}</sup>")


def times(ratio: float) -> str:
    """A ratio with two decimals and a multiplication sign."""
    return f"{ratio:.2f}\u00d7"


def duration(seconds: float) -> str:
    """A time in the units that one would say it in."""
    if seconds < 60:
        return f"{seconds:.0f}{_SPACE}s"
    if seconds < 3600:
        return f"{seconds // 60:.0f}{_SPACE}min {seconds % 60:.0f}{_SPACE}s"
    return f"{seconds // 3600:.0f}{_SPACE}h {seconds % 3600 // 60:.0f}{_SPACE}min"


def network_id(task: str, architecture: str) -> str:
    """Identifier in the page of what it says of one network for one task."""
    return f"network-{hashlib.sha256(task.encode()).hexdigest()[:6]}-{architecture}"


def noise_verdict(row: dict) -> str:
    """What a pick's difference from the full network on the report split says."""
    if row["architecture"] == row["full_architecture"]:
        return "this is the full network"
    if row["within_noise"]:
        return f"inside the noise of {row['n_report']} questions: {not_worse(row['difference_ci_low'])}"
    return "less accurate than the full network" if row["difference"] < 0 else "more accurate than the full network"


def not_worse(low: float) -> str:
    """What an interval of a difference that reaches zero leaves open; ``low`` is its lower bound."""
    if low >= 0:
        return "not shown to be less accurate"
    return f"not shown to be less accurate, but {-100 * low:.1f} points may be lost"


def score_in_words(score: str) -> str:
    """What a search went by."""
    if score == "search_accuracy":
        return "accuracy on the search questions"
    return (
        "search score: the mean square root of the probability given to the right choice, or without choices the mean "
        "log-probability"
    )


def pace(ratio: Ratio) -> str:
    """Whether a network is faster than the full one: only if it was in every round that timed both."""
    if ratio.low > 1:
        return "faster"
    return "slower" if ratio.high < 1 else "not measurably faster"


def speed_verdict(row: dict, prefill: Ratio, decode: Ratio) -> tuple[bool, str]:
    """Whether to warn (smaller, yet not faster throughout), and what a summary row's ratios amount to.

    They are to the full network of the same precision, of the full network itself to that in fp32.
    """
    if row["pick"] == FULL and row["precision"] == "fp32":
        return False, "the full network against itself: what differs from 1 is the noise of the clock"
    reference, size = ("in fp32", "size_ratio_fp32") if row["pick"] == FULL else ("the full network", "size_ratio")
    size_ratio = row[size]
    paces = {"prefill": pace(prefill), "decode": pace(decode)}
    if set(paces.values()) == {"faster"}:
        return False, f"faster in all {decode.rounds} rounds" if decode.rounds > 1 else "faster in the one round"
    if len(set(paces.values())) == 1:
        text = f"{paces['decode']} than {reference}"
    else:
        slow_first = sorted(paces.items(), key=lambda item: item[1] == "faster")
        text = ", ".join(f"{word} in {phase}" for phase, word in slow_first)
    return size_ratio > 1, f"smaller, but {text}" if size_ratio > 1 else text


def model_name(source: dict) -> str:
    """The base model, from ``model.source`` of the configuration."""
    if "wheel" in source:
        return f"{source['wheel']['file'].rsplit('/', 1)[-1]} from package {source['wheel']['requirement']}"
    if "hub" in source:
        return f"{source['hub']['repo']} at revision {source['hub'].get('revision', 'main')}"
    return source.get("folder") or source["gguf"]


def rule_in_words(rule: dict, objective: str) -> str:
    """What a rule of ``select.picks`` chooses."""
    if rule["rule"] == "full":
        return "the full network"
    if rule["rule"] == "knee":
        return "the member of the front that gives up least for its size (farthest above the line between its two ends)"
    if rule["rule"] == "smallest_within":
        lost = f"{rule['points']:g} point{'' if rule['points'] == 1 else 's'}"
        return f"the smallest whose search accuracy is at most {lost} below the full network's"
    limit = f"{100 * rule['share']:g}{_SPACE}% of the full network's {objective.replace('_', ' ')}"
    return f"the best with at most {limit}, or the smallest if there is none"
