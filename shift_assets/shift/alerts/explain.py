"""Explanation of an alert in one sentence for marketers, in English or Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

MAXIMUM_NAMED = 2
"""Categories named on either side: a sentence with more is hard to read."""

Ending = Literal["settled", "faded", "lapsed"]
"""Why an alert closed: the new has become normal; the visits no longer go the new way; nobody came to renew it."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class CategoryChange:
    """Share of a category in a user's interest before and since an onset."""

    category: str
    share_before: float
    share_after: float

    @classmethod
    def of(cls, change: Mapping[str, Any]) -> CategoryChange:
        """Return the change of a row of `rising` or `falling`."""
        return cls(change["category"], change["share_before"], change["share_after"])


@dataclass(frozen=True, slots=True)
class AlertDescription:
    """Content of the sentence. Rising and falling categories are in the order of their change, largest first."""

    day: date
    kind: str
    ending: Ending | None  # why the alert closed; None for an open one
    onset_day: date
    first_onset_day: date | None  # None where only one estimate is known
    rising: list[CategoryChange]
    falling: list[CategoryChange]
    events_before: float  # per active day
    events_after: float  # per active day
    by_mix: bool = True  # the mix of interests changed; False: the activity alone did


def explain(description: AlertDescription, language: Literal["en", "zh"]) -> str:
    """Return the sentence.

    "Since 12 Nov mostly christmas-decoration (45 % of interest, up from 5 %), less kitchen-mug (8 %, down from 40 %)."
    Where the onset was revised it is "Since about 12 Nov (first estimated 15 Nov)". The year of a day is named when it
    is not that of the alert's day.
    """
    return _chinese(description) if language == "zh" else _english(description)


def english_day(onset: date, day: date) -> str:
    """Return the onset in English, with its year where it is not that of `day`."""
    return f"{onset.day} {_MONTHS[onset.month - 1]}" + (f" {onset.year}" if onset.year != day.year else "")


def chinese_day(onset: date, day: date) -> str:
    """Return the onset in Chinese, with its year where it is not that of `day`."""
    return (f"{onset.year}年" if onset.year != day.year else "") + f"{onset.month}月{onset.day}日"


def _english(description: AlertDescription) -> str:
    beginning = _english_beginning(description)
    if not description.by_mix:
        direction = "more" if description.kind == "surge" else "less"
        return (
            f"{beginning} {direction} active: {description.events_after:.3g} events per active day, "
            f"before {description.events_before:.3g}."
        )
    verb = "back to" if description.kind == "return" else ("mostly" if _leads(description) else "more")
    risen = _english_list(description.rising, "up from", with_unit=True)
    fallen = _english_list(description.falling, "down from", with_unit=not risen or description.kind == "fade")
    if description.kind == "surge" and risen:
        return f"{beginning} also {risen}, in addition to the earlier interests."
    if description.kind == "fade" and fallen:
        return f"{beginning} less {fallen}, with nothing new in its place."
    parts = [*([f"{verb} {risen}"] if risen else []), *([f"less {fallen}"] if fallen else [])]
    return f"{beginning} {', '.join(parts) or 'interests are spread differently than before'}."


def _english_list(changes: list[CategoryChange], direction: str, *, with_unit: bool) -> str:
    """The first categories with their shares; the unit is named with the first of a sentence only."""
    return " and ".join(
        f"{change.category} ({_percent(change.share_after)}{' of interest' if with_unit and number == 0 else ''}, "
        f"{direction} {_percent(change.share_before)})"
        for number, change in enumerate(changes[:MAXIMUM_NAMED])
    )


def _english_beginning(description: AlertDescription) -> str:
    onset = english_day(description.onset_day, description.day)
    first = description.first_onset_day
    if first is not None and first != description.onset_day:
        onset = f"about {onset} (first estimated {english_day(first, description.day)})"
    match description.ending:
        case "settled":
            return f"Now normal: since {onset}"
        case "faded":
            return f"Over now: from {onset}"
        case "lapsed":
            return f"Closed, as no further visit confirmed it: from {onset}"
        case None:
            return f"Since {onset}"


def _chinese(description: AlertDescription) -> str:
    beginning = _chinese_beginning(description)
    if not description.by_mix:
        direction = "更活跃" if description.kind == "surge" else "活跃度下降"
        after, before = f"{description.events_after:.3g}", f"{description.events_before:.3g}"
        return f"{beginning}{direction}:每个活跃日 {after} 次行为,此前 {before} 次。"
    verb = "重新关注" if description.kind == "return" else ("主要关注" if _leads(description) else "更多关注")
    risen = _chinese_list(description.rising, with_unit=True)
    fallen = _chinese_list(description.falling, with_unit=not risen or description.kind == "fade")
    if description.kind == "surge" and risen:
        return f"{beginning}在原有兴趣之外新增关注 {risen}。"
    if description.kind == "fade" and fallen:
        return f"{beginning}较少关注 {fallen},没有新的兴趣取代。"
    parts = [*([f"{verb} {risen}"] if risen else []), *([f"较少关注 {fallen}"] if fallen else [])]
    return f"{beginning}{','.join(parts) or '兴趣分布与此前不同'}。"


def _chinese_list(changes: list[CategoryChange], *, with_unit: bool) -> str:
    """As `_english_list`."""
    return "、".join(
        f"{change.category}({'兴趣占比 ' if with_unit and number == 0 else ''}{_percent(change.share_after)},"
        f"此前 {_percent(change.share_before)})"
        for number, change in enumerate(changes[:MAXIMUM_NAMED])
    )


def _chinese_beginning(description: AlertDescription) -> str:
    since = f"自{chinese_day(description.onset_day, description.day)}起"
    first = description.first_onset_day
    if first is not None and first != description.onset_day:
        since = f"约{since}(最初估计为{chinese_day(first, description.day)})"
    match description.ending:
        case "settled":
            return f"已成常态:{since}"
        case "faded":
            return f"现已结束:{since}"
        case "lapsed":
            return f"此后未再来访,提醒关闭:{since}"
        case None:
            return since


def _leads(description: AlertDescription) -> bool:
    """Whether the category that rose most has at least a third of all interest, which the sentence calls "mostly"."""
    return bool(description.rising) and description.rising[0].share_after >= 1 / 3


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
