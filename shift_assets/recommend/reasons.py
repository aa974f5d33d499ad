"""Why an item is recommended, as a short phrase for a person."""

from __future__ import annotations

from collections.abc import Mapping

from shift_assets.experiments.exploration import EXPLORATION_GENERATOR
from shift_assets.recommend.candidates.base import Language
from shift_assets.recommend.candidates.registry import GENERATORS
from shift_assets.recommend.shift_adaptation.interest_changes import InterestChange

_REASONS: dict[str, Mapping[Language, str]] = {
    **{name: generator.reasons for name, generator in GENERATORS.items()},
    EXPLORATION_GENERATOR: {"en": "Something new to look at", "zh": "不妨看看新的方向"},
}
_RISING: dict[Language, str] = {"en": "{reason}; rising interest: {category}", "zh": "{reason}；兴趣上升：{category}"}
_SINCE: dict[Language, str] = {
    "en": "{reason}; since {day} mostly {risen}, before that {fallen}",
    "zh": "{reason}；自{day}起主要关注{risen}，此前关注{fallen}",
}
_WEEKDAY_WITHIN_DAYS = 6
"""Days back for which the name of the weekday is unambiguous."""
_WEEKDAYS: dict[Language, tuple[str, ...]] = {
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "zh": ("周一", "周二", "周三", "周四", "周五", "周六", "周日"),
}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def reason(
    generator: str, category: str | None, *, is_rising: bool, change: InterestChange | None, language: Language
) -> str:
    """The phrase for an item of `category`.

    Args:
        generator: Candidate generator that the item is attributed to.
        category: Category of the item.
        is_rising: The category rose in the user's open alert.
        change: Change of interest that the user's recommendations are adapted to; mentioned where `category` rose.
        language: Language of the phrase.

    Example:
        >>> reason("popularity", "tea", is_rising=True, change=None, language="en")
        'Popular in the last days; rising interest: tea'
    """
    phrase = _REASONS[generator][language]
    if change is not None and category == change.risen:
        return _SINCE[language].format(
            reason=phrase, day=_day(change, language), risen=change.risen, fallen=change.fallen
        )
    if is_rising and category is not None:
        return _RISING[language].format(reason=phrase, category=category)
    return phrase


def _day(change: InterestChange, language: Language) -> str:
    since = change.since
    if (change.today - since).days <= _WEEKDAY_WITHIN_DAYS:
        return _WEEKDAYS[language][since.weekday()]
    return f"{since.day} {_MONTHS[since.month - 1]}" if language == "en" else f"{since.month}月{since.day}日"
