"""Why an item stands in a list, in a short phrase for a person."""

from __future__ import annotations

from typing import Literal

Language = Literal["en", "zh"]

_REASONS: dict[Language, dict[str, str]] = {
    "en": {
        "interest_model": "Fits the course of recent activity",
        "repeats": "Taken before, due again",
        "item_neighbours": "Goes with items taken before",
        "transitions": "Often follows the last visits",
        "popularity": "Popular in the last days",
    },
    "zh": {
        "interest_model": "符合近期行为走势",
        "repeats": "曾经选购，适合再次选购",
        "item_neighbours": "与曾经选购的商品相配",
        "transitions": "常在最近的访问之后被选购",
        "popularity": "近日热门",
    },
}
_RISING: dict[Language, str] = {"en": "{reason}; rising interest: {category}", "zh": "{reason}；兴趣上升：{category}"}


def reason(source: str, rising_category: str | None, language: Language) -> str:
    """The phrase for an item of candidate source `source`, of a rising category of an alerted user or of none."""
    phrase = _REASONS[language][source]
    return phrase if rising_category is None else _RISING[language].format(reason=phrase, category=rising_category)
