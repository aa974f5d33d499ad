"""Alarms through time: when one opens, what sort it is, how long it goes on, when it closes.

**Of the evidence**, for a user's scored day:

- An alarm opens on the day on which the statistic M comes to stand at the patience A or above, having stood below
  it before (or, by rule `discovery`, on which the user's q-value comes to q or below). What stayed above since an
  alarm closed by time does not open another.
- Its kind: `return` where the risen categories were already strong in the profile from before; `surge` where
  something came on top and next to nothing went; `fade` where something went and next to nothing came; else
  `switch`.
- It is `continued` on every later scored day on which log M keeps `CLOSE_FRACTION` of log A.
- It is `closed` on the first scored day below that; or when `evidence.starts` scored days have gone by since the
  onset: then the new interest is the user's normal, and the profile starts anew from the onset; or once
  `close_after_days` have gone by without renewal, whether the user was active or not.

**Of the threshold detector**. *Mix* stands `x` times at its line where x is the lesser of interest gap and
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
from datetime import date, timedelta

import numpy as np

from shift_assets.arrays import BoolArray, Float64Array, Int64Array, ragged_index
from shift_assets.interest.user_days import UserDays, Weights
from shift_assets.interest.windows import contrast
from shift_assets.settings.root import AlertSettings

MIX_KINDS = ("switch", "return")
CLOSE_FRACTION = 0.5
"""An alarm of the evidence closes when log M falls below this part of log A."""
MINIMUM_ARCHIVE_DAYS = 1.0
"""Weight, in days, below which the days before the ring count as none."""
MINOR_FRACTION = 0.25
"""A surge loses, and a fade gains, less than this part of what goes the other way."""


@dataclass(frozen=True, slots=True)
class Excess:
    """Where a user stands, in multiples of the line; nan where the indicators are null."""

    mix: Float64Array  # [user]
    activity: Float64Array  # [user], negative: less active


def excess(
    change_rate: Float64Array,
    interest_gap: Float64Array,
    distribution_distance: Float64Array,
    *,
    n_days: Int64Array,
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

    opened: BoolArray
    continued: BoolArray
    closed: BoolArray
    by_mix: BoolArray  # opened or renewed by the mix; an alarm of activity becomes one of the mix
    settled: BoolArray  # closed because the new interest has become normal


def threshold_transition(
    before: Excess, now: Excess, open_kind: list[str | None], days_since_renewal: Int64Array, settings: AlertSettings
) -> Transition:
    """Apply the rule above.

    before, now: at the previous and at this active day. open_kind[user]: kind of the open alarm, None without one.
    days_unrenewed[user]: days since the open alarm last stood at its line, before today.
    """
    is_open = np.array([kind is not None for kind in open_kind], dtype=bool)
    open_by_mix = np.array([kind in MIX_KINDS for kind in open_kind], dtype=bool)
    direction = np.array([{"surge": 1.0, "fade": -1.0}.get(kind or "", np.nan) for kind in open_kind])
    mix_exceeds, activity_exceeds = now.mix >= 1.0, np.abs(now.activity) >= 1.0
    own = np.where(open_by_mix, now.mix, direction * now.activity)
    renewed = is_open & ((own >= 1.0) | mix_exceeds)
    may_close = (own < settings.close_below) | (days_since_renewal >= settings.close_after_days)
    mix_crosses = mix_exceeds & ~(before.mix >= 1.0)
    activity_crosses = activity_exceeds & ~(np.abs(before.activity) >= 1.0)
    return Transition(
        opened=~is_open & (mix_crosses | activity_crosses),
        continued=renewed,
        closed=is_open & ~renewed & may_close,
        by_mix=mix_exceeds,
        settled=np.zeros(len(is_open), dtype=bool),
    )


@dataclass(frozen=True, slots=True)
class EvidenceObservation:
    """What the evidence says of the users active today, [user] each; nan without a scored day."""

    before: Float64Array  # log M on the scored day before
    now: Float64Array  # log M today; nan for a user active without score
    q_value: Float64Array  # nan where not asked for, and for users with an open alarm
    scored_since_onset: Int64Array  # scored days from the open alarm's onset to today


def evidence_transition(
    observation: EvidenceObservation,
    is_open: BoolArray,
    days_since_renewal: Int64Array,
    starts: int,
    settings: AlertSettings,
) -> Transition:
    """Apply the rule of the evidence; `is_open`, `days_since_renewal` [user] as of this morning.

    By rule `discovery` nothing opens without q-values.
    """
    threshold = np.log(settings.patience_active_days)
    with np.errstate(invalid="ignore"):
        was_above = observation.before >= threshold
        by_threshold, by_discovery = observation.now >= threshold, observation.q_value <= settings.false_discovery_rate
        is_low = observation.now < CLOSE_FRACTION * threshold
    settled = is_open & (observation.scored_since_onset >= starts)
    may_close = is_low | (np.isnan(observation.now) & (days_since_renewal >= settings.close_after_days))
    return Transition(
        opened=~is_open & ~was_above & (by_discovery if settings.rule == "discovery" else by_threshold),
        continued=is_open & ~settled & ~may_close & ~np.isnan(observation.now),
        closed=settled | (is_open & may_close),
        by_mix=np.zeros(len(is_open), dtype=bool),
        settled=settled,
    )


def kind_of_change(user_days: UserDays, users: Int64Array, is_after: BoolArray, n_categories: int) -> list[str]:
    """`surge`, `fade` or `switch` for each of `users`, by score per active day before and since the onset.

    is_after: whether an entry lies at or after its user's onset, [entry of `user_days`].
    """
    chosen = user_days.take_users(users)
    sides = contrast(chosen, is_after[_entries_of(user_days, users)], n_categories)
    move = sides.after / np.maximum(sides.days_after, 1)[sides.user]
    move -= sides.before / np.maximum(sides.days_before, 1)[sides.user]
    gained = np.bincount(sides.user, np.maximum(move, 0.0), minlength=len(users))
    lost = np.bincount(sides.user, np.maximum(-move, 0.0), minlength=len(users))
    is_surge, is_fade = lost < MINOR_FRACTION * gained, gained < MINOR_FRACTION * lost
    return ["surge" if surge else "fade" if fade else "switch" for surge, fade in zip(is_surge, is_fade, strict=True)]


def alert_id(user_id: str, opened: date) -> str:
    """Name of the alarm that a user's episode has from its first day to its last, 32 hex digits."""
    return hashlib.blake2b(f"{user_id}|{opened.isoformat()}".encode(), digest_size=16).hexdigest()


def opened_day(user_id: str, name: str, first: date, last: date) -> date | None:
    """The day, `first` to `last`, on which the user's alarm of that name opened; None where it was on none of them."""
    days = (first + timedelta(days=number) for number in range((last - first).days + 1))
    return next((day for day in days if alert_id(user_id, day) == name), None)


def is_return(
    user_days: UserDays,
    shares: Float64Array,
    archive: Float64Array,
    users: Int64Array,
    is_after: BoolArray,
    *,
    return_share: float,
) -> BoolArray:
    """Whether the categories that rose were already strong before the ring's days, [len(users)].

    shares: [score of `user_days`], of the day's score. archive: [len(users), category], weights of the days before the
    ring (`archive_of`). A shift is a return when the archive's share of the risen categories reaches `return_share`
    of what they rose to.
    """
    n_categories = archive.shape[1]
    entries = _entries_of(user_days, users)
    chosen = user_days.take_users(users)
    daily = shares[ragged_index(user_days.score_start[entries], np.diff(user_days.score_start)[entries])]
    by_day = UserDays(chosen.start, chosen.day, chosen.score_start, chosen.category, daily, chosen.counts)
    sides = contrast(by_day, is_after[entries], n_categories)
    rise = sides.share_after() - sides.share_before()
    archive_total = archive.sum(axis=1)
    archive_share = archive / np.where(archive_total > 0, archive_total, 1.0)[:, None]
    risen = rise > 0
    risen_archive = np.bincount(
        sides.user[risen], weights=archive_share[sides.user[risen], sides.category[risen]], minlength=len(users)
    )
    risen_after = np.bincount(sides.user[risen], weights=sides.share_after()[risen], minlength=len(users))
    return np.asarray((archive_total > 0) & (risen_archive >= return_share * risen_after))


def archive_of(
    user_days: UserDays,
    shares: Float64Array,
    profiles: list[Weights],
    users: Int64Array,
    *,
    n_categories: int,
    decay: float,
) -> Float64Array:
    """What `profiles` hold of the days before the ring, [len(users), category].

    profiles: the long-term and the former profile; the ring's days have entered one of them. What they gave is taken
    out. An archive of less than `MINIMUM_ARCHIVE_DAYS` is what rounding and the segment's
    moves leave of an empty one: no old taste.
    """
    archive = np.zeros((len(users), n_categories))
    position = np.full(user_days.n_users, -1, dtype=np.int64)
    position[users] = np.arange(len(users))
    for profile in profiles:
        row = position[profile.user]
        np.add.at(archive, (row[row >= 0], profile.category[row >= 0]), profile.weight[row >= 0])
    entry = user_days.score_entry
    row = position[user_days.user[entry]]
    age = user_days.age[entry]
    chosen = row >= 0
    np.subtract.at(archive, (row[chosen], user_days.category[chosen]), (shares * decay**age)[chosen])
    archive = np.maximum(archive, 0.0)
    return np.where(archive.sum(axis=1, keepdims=True) >= MINIMUM_ARCHIVE_DAYS, archive, 0.0)


def _entries_of(user_days: UserDays, users: Int64Array) -> Int64Array:
    return ragged_index(user_days.start[users], user_days.n_days[users])
