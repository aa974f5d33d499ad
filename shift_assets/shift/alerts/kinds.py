"""The kind of an alert: surge, fade or switch by what rose and fell, return by what had been strong before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shift_assets.arrays import BoolArray, Float64Array, Int64Array, ragged_index
from shift_assets.interest.user_days import UserDays, Weights
from shift_assets.interest.windows import contrast

MINIMUM_ARCHIVE_DAYS = 1.0
"""Weight, in days, below which the days before the recent ones count as none: it is what rounding and the segment's
moves leave of an empty archive."""
RETURN_SHARE = 0.5
"""Part of their share since the onset that the archive has to give the risen categories of a return."""
MINOR_FRACTION = 0.25
"""A surge loses, and a fade gains, less than this part of what goes the other way."""


@dataclass(frozen=True, slots=True)
class AlertContext:
    """The users' recent days and profiles, from which their alerts are dated and classified."""

    user_days: UserDays
    shares: Float64Array  # [score of `user_days`], of the day's score, without the platform's part where known
    profile: Weights  # long-term
    former: Weights  # before the last shift that became normal
    n_categories: int
    decay: float  # of the profiles, per active day

    def since(self, users: Int64Array, entry: Int64Array) -> BoolArray:
        """Whether an entry is `entry[i]` of `users[i]` or later of the same user, [entry]."""
        is_after = np.zeros(len(self.user_days.day), dtype=bool)
        is_after[ragged_index(entry, self.user_days.start[users + 1] - entry)] = True
        return is_after

    def entries_of(self, users: Int64Array) -> Int64Array:
        """Entries of these users, one user after the other."""
        return ragged_index(self.user_days.start[users], self.user_days.n_days[users])


def kind_of_change(context: AlertContext, users: Int64Array, is_after: BoolArray) -> list[str]:
    """Return `surge`, `fade` or `switch` for each of `users`, by score per active day before and since the onset.

    is_after: whether an entry lies at or after its user's onset, [entry of `context.user_days`].
    """
    chosen = context.user_days.take_users(users)
    sides = contrast(chosen, is_after[context.entries_of(users)], context.n_categories)
    move = sides.after / np.maximum(sides.days_after, 1)[sides.user]
    move -= sides.before / np.maximum(sides.days_before, 1)[sides.user]
    gained = np.bincount(sides.user, np.maximum(move, 0.0), minlength=len(users))
    lost = np.bincount(sides.user, np.maximum(-move, 0.0), minlength=len(users))
    is_surge, is_fade = lost < MINOR_FRACTION * gained, gained < MINOR_FRACTION * lost
    return ["surge" if surge else "fade" if fade else "switch" for surge, fade in zip(is_surge, is_fade, strict=True)]


def is_return(context: AlertContext, users: Int64Array, is_after: BoolArray) -> BoolArray:
    """Whether the categories that rose were already strong before the recent days, [len(users)].

    A shift is a return when the share of the risen categories in the archive (the days before the recent ones)
    reaches `RETURN_SHARE` of their share since the onset.

    Args:
        context: recent days and profiles.
        users: the users.
        is_after: whether an entry lies at or after its user's onset, [entry of `context.user_days`].
    """
    user_days, archive = context.user_days, _archive(context, users)
    entries = context.entries_of(users)
    chosen = user_days.take_users(users)
    daily = context.shares[ragged_index(user_days.score_start[entries], np.diff(user_days.score_start)[entries])]
    by_day = UserDays(chosen.start, chosen.day, chosen.score_start, chosen.category, daily, chosen.counts)
    sides = contrast(by_day, is_after[entries], context.n_categories)
    rise = sides.share_after() - sides.share_before()
    archive_total = archive.sum(axis=1)
    archive_share = archive / np.where(archive_total > 0, archive_total, 1.0)[:, None]
    risen = rise > 0
    risen_archive = np.bincount(
        sides.user[risen], weights=archive_share[sides.user[risen], sides.category[risen]], minlength=len(users)
    )
    risen_after = np.bincount(sides.user[risen], weights=sides.share_after()[risen], minlength=len(users))
    return np.asarray((archive_total > 0) & (risen_archive >= RETURN_SHARE * risen_after))


def _archive(context: AlertContext, users: Int64Array) -> Float64Array:
    """Weights of the days before the recent ones, [len(users), category]: both profiles less the recent days."""
    user_days = context.user_days
    archive = np.zeros((len(users), context.n_categories))
    position = np.full(user_days.n_users, -1, dtype=np.int64)
    position[users] = np.arange(len(users))
    for profile in (context.profile, context.former):
        row = position[profile.user]
        np.add.at(archive, (row[row >= 0], profile.category[row >= 0]), profile.weight[row >= 0])
    entry = user_days.score_entry
    row = position[user_days.user[entry]]
    weight = context.shares * context.decay ** user_days.age[entry]
    chosen = row >= 0
    np.subtract.at(archive, (row[chosen], user_days.category[chosen]), weight[chosen])
    archive = np.maximum(archive, 0.0)
    return np.where(archive.sum(axis=1, keepdims=True) >= MINIMUM_ARCHIVE_DAYS, archive, 0.0)
