"""An alarm in one sentence that a marketer understands, in English or Chinese."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

MAXIMUM_NAMED = 2
"""Categories named on either side: more than two are a table, no sentence."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class CategoryChange:
    """A category's share of a user's interest before and since an onset."""

    category: str
    share_before: float
    share_after: float

    def contribution(self) -> float:
        """What the category adds, per day since the onset, to the evidence for the new profile, nats; both shares
        with a hundredth added, so that a category never met before counts for something finite."""
        return (self.share_after + 0.01) * math.log((self.share_after + 0.01) / (self.share_before + 0.01))


@dataclass(frozen=True, slots=True)
class AlertDescription:
    """All that the sentence tells. Rising and falling categories come largest change first."""

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
    """The sentence.

    "Since 12 Nov mostly christmas-decoration (45 % of interest, before 5 %), less kitchen-mug (before 40 %, now
    8 %)." The onset's year is named when it is not that of the alarm's day.
    """
    return _chinese(description) if language == "zh" else _english(description)


def segment_sentence(event: Mapping[str, Any], day: date, language: Literal["en", "zh"]) -> str:
    """One event of a whole segment in a sentence; `event` has the columns of `segment_events`.

    "Since 12 Nov more of all interest goes to garden: 18.0 %, before 11.2 %."
    """
    more = event["after"] > event["before"]
    if event["measure"] == "category_share":
        before, after = (f"{100 * event[side]:.1f} %" for side in ("before", "after"))
    else:
        before, after = (f"{event[side]:,.0f}" for side in ("before", "after"))
    onset = event["onset_day"]
    if language == "zh":
        what = {
            "volume": f"总体兴趣{'上升' if more else '下降'}:每天 {after} 分",
            "active_users": f"活跃用户{'增加' if more else '减少'}:每天 {after} 人",
            "category_share": f"{event['category']} 的兴趣占比{'上升' if more else '下降'}:{after}",
        }
        return f"自{_chinese_day(onset, day)}起{what[event['measure']]},此前 {before}。"
    what = {
        "volume": f"interest is {'up' if more else 'down'}: a score of {after} a day",
        "active_users": f"{'more' if more else 'fewer'} users are active: {after} a day",
        "category_share": f"{'more' if more else 'less'} of all interest goes to {event['category']}: {after}",
    }
    return f"Since {_english_day(onset, day)} {what[event['measure']]}, before {before}."


def _english_day(onset: date, day: date) -> str:
    """The onset, with its year where it is not that of `day`."""
    return f"{onset.day} {_MONTHS[onset.month - 1]}" + (f" {onset.year}" if onset.year != day.year else "")


def _chinese_day(onset: date, day: date) -> str:
    return (f"{onset.year}年" if onset.year != day.year else "") + f"{onset.month}月{onset.day}日"


def _english(description: AlertDescription) -> str:
    onset = _english_day(description.onset_day, description.day)
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
    onset = _chinese_day(description.onset_day, description.day)
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
    """Whether what rose most is now a third of all interest or more: less could not be called "mostly"."""
    return bool(description.rising) and description.rising[0].share_after >= 1 / 3


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
