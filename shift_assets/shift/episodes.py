"""Alarms through time: when one opens, what sort it is, how long it goes on, when it closes.

The rule, for a user's active day. *Mix* stands `x` times at its line where x is the lesser of interest gap and
distribution distance, each over its line: both must cross, because a gap alone is also one large order, and a
distance alone is also many small changes. *Activity* stands `|log2(1 + change rate)|` over its line at its line.

- An alarm opens on the active day on which mix or activity comes to stand at its line or above, having stood
  below it on the active day before. What stayed above since an alarm closed by time does not open another.
- Its kind: mix crossed makes `switch`, or `return` where the risen categories were already strong in the
  long-term profile from before both windows; activity alone makes `surge` or `fade`.
- It is `continued` on every later active day on which what opened it stands at its line again. An open surge or
  fade whose mix crosses becomes a switch or return: the same alarm, known better.
- It is `closed` on the first active day on which that stands below `close_below` of its line, or once
  `close_after_days` have gone by without renewal, whether the user was active or not.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date

import numpy as np

from shift_assets.settings import AlertSettings
from shift_assets.shift.rings import Flags, Floats, Ints, Rings, Weights, ragged_index
from shift_assets.shift.windows import contrast

MIX_KINDS = ("switch", "return")


@dataclass(frozen=True, slots=True)
class Excess:
    """Where a user stands, in multiples of the line; nan where the indicators are null."""

    mix: Floats  # [user]
    activity: Floats  # [user], negative: less active


def excess(
    change_rate: Floats,
    interest_gap: Floats,
    distribution_distance: Floats,
    *,
    n_days: Ints,
    settings: AlertSettings,
    segment: str,
) -> Excess:
    """The users' indicators [user] against the segment's lines.

    n_days: active days in both windows [user]. Windows of a few days differ by chance alone, so users below
    `settings.minimum_active_days` stand nowhere.
    """
    own = settings.per_segment.get(segment, {})
    few = n_days < settings.minimum_active_days
    mix = np.minimum(
        interest_gap / own.get("interest_gap", settings.interest_gap),
        distribution_distance / own.get("distribution_distance", settings.distribution_distance),
    )
    with np.errstate(divide="ignore"):
        activity = np.log2(1.0 + change_rate) / own.get("change_rate", settings.change_rate)
    return Excess(mix=np.where(few, np.nan, mix), activity=np.where(few, np.nan, activity))


@dataclass(frozen=True, slots=True)
class Transition:
    """What happens to the users' alarms on an active day, [user] each."""

    opened: Flags
    continued: Flags
    closed: Flags
    by_mix: Flags  # opened or renewed by the mix; an alarm of activity becomes one of the mix


def transition(
    before: Excess, now: Excess, open_kind: list[str | None], days_unrenewed: Ints, settings: AlertSettings
) -> Transition:
    """Apply the rule above.

    before, now: at the previous and at this active day. open_kind[user]: kind of the open alarm, None without one.
    days_unrenewed[user]: days since the open alarm last stood at its line, before today.
    """
    is_open = np.array([kind is not None for kind in open_kind], dtype=bool)
    open_by_mix = np.array([kind in MIX_KINDS for kind in open_kind], dtype=bool)
    direction = np.array([{"surge": 1.0, "fade": -1.0}.get(kind or "", np.nan) for kind in open_kind])
    mix_stands, activity_stands = now.mix >= 1.0, np.abs(now.activity) >= 1.0
    own = np.where(open_by_mix, now.mix, direction * now.activity)
    renewed = is_open & ((own >= 1.0) | mix_stands)
    calm = (own < settings.close_below) | (days_unrenewed >= settings.close_after_days)
    mix_crosses = mix_stands & ~(before.mix >= 1.0)
    activity_crosses = activity_stands & ~(np.abs(before.activity) >= 1.0)
    return Transition(
        opened=~is_open & (mix_crosses | activity_crosses),
        continued=renewed,
        closed=is_open & ~renewed & calm,
        by_mix=mix_stands,
    )


def alert_id(user_id: str, opened: date) -> str:
    """Name of the alarm that a user's episode has from its first day to its last, 32 hex digits."""
    return hashlib.blake2b(f"{user_id}|{opened.isoformat()}".encode(), digest_size=16).hexdigest()


def is_return(
    rings: Rings,
    profile: Weights,
    users: Ints,
    is_after: Flags,
    *,
    n_categories: int,
    decay: float,
    return_share: float,
) -> Flags:
    """Whether the categories that rose were already strong before the ring's days, [len(users)].

    profile: long-term score, decayed by `decay` per active day, of all days of the same users as `rings`. What the
    ring's own days gave to it is known exactly and taken out; the rest is the archive. A shift is a return when the
    archive's share of the risen categories reaches `return_share` of what they rose to.
    """
    chosen = rings.take_users(users)
    chosen_after = is_after[_entries_of(rings, users)]
    sides = contrast(chosen, chosen_after, n_categories)
    rise = sides.share_after() - sides.share_before()
    archive = np.zeros((len(users), n_categories))
    position = np.full(rings.n_users, -1, dtype=np.int64)
    position[users] = np.arange(len(users))
    row = position[profile.user]
    archive[row[row >= 0], profile.category[row >= 0]] = profile.weight[row >= 0]
    whole = archive.sum(axis=1)
    entry = chosen.score_entry
    np.subtract.at(archive, (chosen.user[entry], chosen.category), chosen.score * decay ** chosen.age[entry])
    # What rounding leaves of an archive that holds nothing must not pass for an old taste.
    archive = np.where(archive > 1e-6 * whole[:, None], archive, 0.0)
    archive_total = archive.sum(axis=1)
    archive_share = archive / np.where(archive_total > 0, archive_total, 1.0)[:, None]
    risen = rise > 0
    risen_archive = np.bincount(
        sides.user[risen], weights=archive_share[sides.user[risen], sides.category[risen]], minlength=len(users)
    )
    risen_after = np.bincount(sides.user[risen], weights=sides.share_after()[risen], minlength=len(users))
    return np.asarray((archive_total > 0) & (risen_archive >= return_share * risen_after))


def _entries_of(rings: Rings, users: Ints) -> Ints:
    return ragged_index(rings.start[users], rings.n_days[users])
