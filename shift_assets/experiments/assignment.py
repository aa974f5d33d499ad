"""Which arm makes a user's lists: dealt out by a hash, so that a user stays, and with known probabilities.

Each user has one uniform number per policy, from a keyed hash of experiment and pseudonym; the arm is the one with
the largest log(uniform) / share. That is a race of exponential clocks, won by each arm with exactly its share
(weighted rendezvous hashing, Schindelhauer & Schomaker 2005). When one arm gains at the cost of all the others in
proportion, users move into it and between no two others: a small change of shares moves few users.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from shift_assets.arrays import Float64Array, Int64Array
from shift_assets.settings.root import POLICIES

UNADJUSTED, RECENCY_REWEIGHTED, SHIFT_ADJUSTED, EXPLORING = POLICIES
_WORDS = 8
"""Uniform numbers that one 64-byte digest holds."""


class Arm(NamedTuple):
    """What an arm's name says: the policy, and the weight of rising interests where it has its own."""

    policy: str
    rising_weight: float | None

    @classmethod
    def of(cls, name: str) -> Arm:
        """`shift_adjusted@0.75` as (shift_adjusted, 0.75); a policy's bare name carries no weight.

        Raises ValueError for a policy that there is not.
        """
        policy, marked, weight = name.partition("@")
        if policy not in POLICIES:
            raise ValueError(f"unknown policy {policy!r}; known: {', '.join(POLICIES)}")
        return cls(policy, float(weight) if marked else None)


class Assignment(NamedTuple):
    """The arm of every user, and the probability with which the user was given it."""

    arms: tuple[str, ...]
    arm: Int64Array  # [user], index into `arms`
    probabilities: Float64Array  # [user, arm], before the dealing

    @property
    def propensities(self) -> Float64Array:
        """Probability [user] of the arm that the user was given."""
        return np.asarray(np.take_along_axis(self.probabilities, self.arm[:, None], axis=1)[:, 0])

    @property
    def names(self) -> list[str]:
        """Arm's name [user]."""
        return [self.arms[arm] for arm in self.arm.tolist()]


def uniforms(users: Sequence[str], purpose: str, count: int) -> Float64Array:
    """`count` numbers [user, number] in (0, 1) per user that look independent, the same whenever asked.

    `purpose` separates uses: numbers of two purposes say nothing about each other.
    """
    blocks = [
        b"".join(
            hashlib.blake2b(user.encode(), key=hashlib.sha256(f"{purpose}/{block}".encode()).digest()).digest()
            for user in users
        )
        for block in range(-(-count // _WORDS))
    ]
    words = [np.frombuffer(block, dtype="<u8").reshape(len(users), _WORDS) for block in blocks]
    bits = np.concatenate(words, axis=1)[:, :count] >> np.uint64(11)  # as many as a float64 holds
    return (bits.astype(np.float64) + 0.5) / 2.0**53


def assign(
    users: Sequence[str], experiment: str, shares: Mapping[str, float] | Sequence[Mapping[str, float]]
) -> Assignment:
    """The arm of every pseudonym in `users` in the experiment of that name.

    `shares` give each arm's share, one for all users or one per user (as learnt for the user's segment and kind of
    shift); they are divided by their sum, and an arm that one of them leaves out has share 0 there.

    Raises ValueError where no share is positive, one is negative, or the per-user shares are not one per user.
    """
    per_user = [shares] if isinstance(shares, Mapping) else list(shares)
    if not isinstance(shares, Mapping) and len(per_user) != len(users):
        raise ValueError(f"{len(per_user)} shares for {len(users)} users")
    arms = tuple(sorted({arm for own in per_user for arm in own}))
    weights = np.array([[own.get(arm, 0.0) for arm in arms] for own in per_user]).reshape(len(per_user), len(arms))
    total = weights.sum(axis=1, keepdims=True)
    if (weights < 0).any() or (total <= 0).any():
        raise ValueError("shares are 0 or more, and one of them is more than 0")
    probabilities = np.broadcast_to(weights / total, (len(users), len(arms)))
    clocks = (
        np.stack([uniforms(users, f"arm {arm} of {experiment}", 1)[:, 0] for arm in arms], axis=1)
        if users
        else np.zeros((0, len(arms)))
    )
    with np.errstate(divide="ignore"):
        arm = np.argmin(-np.log(clocks) / probabilities, axis=1)
    return Assignment(arms, arm.astype(np.int64), np.array(probabilities))
