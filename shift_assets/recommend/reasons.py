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
        "users_alike": "Taken by users of similar taste",
        "factorisation": "Fits the taste behind past choices",
        "autoencoder": "Fits the whole of past choices",
        "baskets": "Often taken together with past choices",
        "content": "Similar to items taken before",
        "reviews": "Fits reviews and other signs of interest",
        "popularity": "Popular in the last days",
    },
    "zh": {
        "interest_model": "符合近期行为走势",
        "repeats": "曾经选购，适合再次选购",
        "item_neighbours": "与曾经选购的商品相配",
        "transitions": "常在最近的访问之后被选购",
        "users_alike": "品味相近的用户也选购",
        "factorisation": "符合以往选择体现的品味",
        "autoencoder": "符合以往选择的整体特点",
        "baskets": "常与曾经选购的商品一同选购",
        "content": "与曾经选购的商品相似",
        "reviews": "符合评价及其他兴趣表现",
        "popularity": "近日热门",
    },
}
_RISING: dict[Language, str] = {"en": "{reason}; rising interest: {category}", "zh": "{reason}；兴趣上升：{category}"}


def reason(source: str, rising_category: str | None, language: Language) -> str:
    """The phrase for an item of candidate source `source`, of a rising category of an alerted user or of none."""
    phrase = _REASONS[language][source]
    return phrase if rising_category is None else _RISING[language].format(reason=phrase, category=rising_category)
