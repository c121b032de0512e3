"""What the questions of a task are like."""


def chance_of(questions: list[dict]) -> float | None:
    """The accuracy that guessing has on the report split; None where there are no choices to guess among."""
    asked = _reported(questions)
    return sum(1 / len(row["branches"]) for row in asked) / len(asked) if asked else None


def question_view(questions: list[dict]) -> dict | None:
    """What the questions of a multiple-choice task are like: ``choices`` at most, ``chance``, and an ``example``."""
    asked = _reported(questions)
    if not asked:
        return None
    first = asked[0]
    return {
        "choices": max(len(row["branches"]) for row in asked),
        "chance": chance_of(questions),
        "splits": sorted({row["source_split"] for row in asked}),
        "example": {
            "text": shortened(first["context_text"]),
            "choices": [shortened(text) for text in first["choice_texts"]],
            "right": [shortened(first["choice_texts"][gold]) for gold in first["gold"]],
        },
    }


def shortened(text: str) -> str:
    """The end of a text, where a question asks what it asks."""
    return text if len(text) <= 300 else f"\u2026{text[-300:]}"


def _reported(questions: list[dict]) -> list[dict]:
    return [row for row in questions if row["split"] == "report" and row["kind"] == "multiple_choice"]
