"""Assignment of users to the arms of an experiment: by a hash, stable per user, with known probabilities.

Each user has one uniform number per arm, from a keyed hash of experiment and pseudonym; the arm is the one with the
largest log(uniform) / share. That is a race of exponential clocks, won by each arm with exactly its share (weighted
rendezvous hashing, Schindelhauer & Schomaker 2005). When one arm gains at the cost of all the others in proportion,
users move into it and between no two others: a small change of shares moves few users.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from shift_assets.arrays import Float64Array, Int64Array
from shift_assets.settings.root import POLICIES

UNADJUSTED, RECENCY_REWEIGHTED, SHIFT_ADJUSTED, EXPLORING = POLICIES
_WORDS = 8
"""Uniform numbers that one 64-byte digest holds."""


class Arm(NamedTuple):
    """An arm: its policy, and its own weight of rising interests, None for that of the settings."""

    policy: str
    rising_weight: float | None

    @classmethod
    def of(cls, name: str) -> Arm:
        """Parse the name of an arm.

        Raises:
            ValueError: The policy is unknown.

        Example:
            >>> Arm.of("shift_adjusted@0.75")
            Arm(policy='shift_adjusted', rising_weight=0.75)
            >>> Arm.of("exploring").rising_weight is None
            True
        """
        policy, has_weight, weight = name.partition("@")
        if policy not in POLICIES:
            raise ValueError(f"unknown policy {policy!r}; known: {', '.join(POLICIES)}")
        return cls(policy, float(weight) if has_weight else None)


class Assignment(NamedTuple):
    """The arm of every user, and with which probability it was assigned.

    Attributes:
        arms: Names of the arms.
        arm: Index into `arms`, [user].
        probabilities: Probability of every arm, [user, arm].
    """

    arms: tuple[str, ...]
    arm: Int64[Int64Array, " user"]
    probabilities: Float64[Float64Array, "user arm"]

    @property
    def propensities(self) -> Float64[Float64Array, " user"]:
        """Probability [user] of the arm that the user is assigned to."""
        return np.asarray(np.take_along_axis(self.probabilities, self.arm[:, None], axis=1)[:, 0])

    @property
    def names(self) -> list[str]:
        """Name of the arm, [user]."""
        return [self.arms[arm] for arm in self.arm.tolist()]


def uniforms(users: Sequence[str], purpose: str, count: int) -> Float64[Float64Array, "user number"]:
    """`count` pseudo-random numbers in (0, 1) per user, [user, number], a function of user and purpose alone.

    Args:
        users: Pseudonyms.
        purpose: Key of the hash; numbers of two purposes are independent.
        count: Numbers per user.
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
    """Assign users to arms.

    Args:
        users: Pseudonyms.
        experiment: Name of the experiment; another name assigns independently.
        shares: Share of each arm, one mapping for all users or one per user (as learned for the user's segment and
            kind of shift). They are divided by their sum; an arm that a mapping leaves out has share 0 there.

    Raises:
        ValueError: No share is positive, one is negative, or the per-user shares are not one per user.
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
