"""Explanation of an alert in one sentence for marketers, in English or Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

MAXIMUM_NAMED = 2
"""Categories named on either side: a sentence with more is hard to read."""

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
    status: str
    onset_day: date
    rising: list[CategoryChange]
    falling: list[CategoryChange]
    events_before: float  # per active day
    events_after: float  # per active day
    by_mix: bool = True  # the mix of interests changed; False: the activity alone did


def explain(description: AlertDescription, language: Literal["en", "zh"]) -> str:
    """Return the sentence.

    "Since 12 Nov mostly christmas-decoration (45 % of interest, before 5 %), less kitchen-mug (before 40 %, now
    8 %)." The onset's year is named when it is not that of the alert's day.
    """
    return _chinese(description) if language == "zh" else _english(description)


def english_day(onset: date, day: date) -> str:
    """Return the onset in English, with its year where it is not that of `day`."""
    return f"{onset.day} {_MONTHS[onset.month - 1]}" + (f" {onset.year}" if onset.year != day.year else "")


def chinese_day(onset: date, day: date) -> str:
    """Return the onset in Chinese, with its year where it is not that of `day`."""
    return (f"{onset.year}年" if onset.year != day.year else "") + f"{onset.month}月{onset.day}日"


def _english(description: AlertDescription) -> str:
    onset = english_day(description.onset_day, description.day)
    beginning = f"Over now: since {onset}" if description.status == "closed" else f"Since {onset}"
    if not description.by_mix:
        direction = "more" if description.kind == "surge" else "less"
        return (
            f"{beginning} {direction} active: {description.events_after:.3g} events per active day, "
            f"before {description.events_before:.3g}."
        )
    verb = "back to" if description.kind == "return" else ("mostly" if _leads(description) else "more")
    risen = " and ".join(
        f"{change.category} ({_percent(change.share_after)}{unit}, before {_percent(change.share_before)})"
        for change, unit in zip(description.rising[:MAXIMUM_NAMED], (" of interest", ""), strict=False)
    )
    fallen = " and ".join(
        f"{change.category} (before {_percent(change.share_before)}, now {_percent(change.share_after)})"
        for change in description.falling[:MAXIMUM_NAMED]
    )
    if description.kind == "surge" and risen:
        return f"{beginning} also {risen}, on top of the interests before."
    if description.kind == "fade" and fallen:
        return f"{beginning} less {fallen}, with nothing in its place."
    parts = [*([f"{verb} {risen}"] if risen else []), *([f"less {fallen}"] if fallen else [])]
    return f"{beginning} {', '.join(parts) or 'interests spread otherwise than before'}."


def _chinese(description: AlertDescription) -> str:
    onset = chinese_day(description.onset_day, description.day)
    beginning = f"现已结束:自{onset}起" if description.status == "closed" else f"自{onset}起"
    if not description.by_mix:
        direction = "更活跃" if description.kind == "surge" else "活跃度下降"
        after, before = f"{description.events_after:.3g}", f"{description.events_before:.3g}"
        return f"{beginning}{direction}:每个活跃日 {after} 次行为,此前 {before} 次。"
    verb = "重新关注" if description.kind == "return" else ("主要关注" if _leads(description) else "更多关注")
    risen = "、".join(
        f"{change.category}({unit}{_percent(change.share_after)},此前 {_percent(change.share_before)})"
        for change, unit in zip(description.rising[:MAXIMUM_NAMED], ("兴趣占比 ", ""), strict=False)
    )
    fallen = "、".join(
        f"{change.category}(此前 {_percent(change.share_before)},现在 {_percent(change.share_after)})"
        for change in description.falling[:MAXIMUM_NAMED]
    )
    if description.kind == "surge" and risen:
        return f"{beginning}在原有兴趣之外新增关注 {risen}。"
    if description.kind == "fade" and fallen:
        return f"{beginning}较少关注 {fallen},没有新的兴趣取代。"
    parts = [*([f"{verb} {risen}"] if risen else []), *([f"较少关注 {fallen}"] if fallen else [])]
    return f"{beginning}{','.join(parts) or '兴趣分布与此前不同'}。"


def _leads(description: AlertDescription) -> bool:
    """Whether the category that rose most has at least a third of all interest, which the sentence calls "mostly"."""
    return bool(description.rising) and description.rising[0].share_after >= 1 / 3


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
