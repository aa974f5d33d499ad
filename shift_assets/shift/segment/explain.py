"""Explanation of a segment's event in one sentence, in English or Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Literal

from shift_assets.shift.alerts.explain import chinese_day, english_day


def segment_sentence(event: Mapping[str, Any], day: date, language: Literal["en", "zh"]) -> str:
    """Return the sentence; `event` has the columns of `segment_events`.

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
        return f"自{chinese_day(onset, day)}起{what[event['measure']]},此前 {before}。"
    what = {
        "volume": f"interest is {'up' if more else 'down'}: a score of {after} a day",
        "active_users": f"{'more' if more else 'fewer'} users are active: {after} a day",
        "category_share": f"{'more' if more else 'less'} of all interest goes to {event['category']}: {after}",
    }
    return f"Since {english_day(onset, day)} {what[event['measure']]}, before {before}."
