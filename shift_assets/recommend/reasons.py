"""Why an item stands in a list, in a short phrase for a person."""

from __future__ import annotations

from typing import Literal

from shift_assets.recommend.shift_adaptation.interest_changes import InterestChange

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
        "exploration": "Something new to look at",
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
        "exploration": "不妨看看新的方向",
    },
}
_RISING: dict[Language, str] = {"en": "{reason}; rising interest: {category}", "zh": "{reason}；兴趣上升：{category}"}
_SINCE: dict[Language, str] = {
    "en": "{reason}; since {day} mostly {risen}, before that {fallen}",
    "zh": "{reason}；自{day}起主要关注{risen}，此前关注{fallen}",
}
_DAYS_BY_NAME = 6
"""Days back for which the day of the week is clear."""
_WEEKDAYS: dict[Language, tuple[str, ...]] = {
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "zh": ("周一", "周二", "周三", "周四", "周五", "周六", "周日"),
}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def reason(
    source: str, category: str | None, *, is_rising: bool, change: InterestChange | None, language: Language
) -> str:
    """The phrase for an item of `category` from candidate source `source`.

    `change`: what the user's list leans towards; told where the item is of the category that rose. `is_rising`: the
    category rose in the user's open alarm.
    """
    phrase = _REASONS[language][source]
    if change is not None and category == change.risen:
        return _SINCE[language].format(
            reason=phrase, day=_day(change, language), risen=change.risen, fallen=change.fallen
        )
    if is_rising and category is not None:
        return _RISING[language].format(reason=phrase, category=category)
    return phrase


def _day(change: InterestChange, language: Language) -> str:
    since = change.since
    if (change.today - since).days <= _DAYS_BY_NAME:
        return _WEEKDAYS[language][since.weekday()]
    return f"{since.day} {_MONTHS[since.month - 1]}" if language == "en" else f"{since.month}月{since.day}日"
