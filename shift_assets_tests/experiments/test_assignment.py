"""Users keep their arm, arms get their share, and a change of shares moves as few users as possible."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shift_assets.experiments.assignment import Arm, assign, uniforms
from shift_assets.settings.root import ExperimentSettings

USERS = [f"{number:032x}" for number in range(8_000)]
SHARES = {"unadjusted": 0.1, "recency_reweighted": 0.2, "shift_adjusted": 0.6, "exploring": 0.1}


def arms_of(shares: dict[str, float], experiment: str = "lists") -> np.ndarray:
    return np.array(assign(USERS, experiment, shares).names)


def test_every_arm_gets_its_share_and_the_probability_says_so() -> None:
    """Of 8,000 users each arm has its share to a few standard errors, and that share is the logged propensity."""
    found = assign(USERS, "lists", SHARES)
    names = np.array(found.names)
    for arm, share in SHARES.items():
        assert (names == arm).mean() == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / len(USERS)))
        assert found.propensities[names == arm] == pytest.approx(share)


def test_the_arm_of_a_user_does_not_depend_on_other_users() -> None:
    """An arm depends on the user and the experiment alone, not on the other users or their order."""
    whole = dict(zip(USERS, assign(USERS, "lists", SHARES).names, strict=True))
    some = USERS[500:40:-7]
    assert assign(some, "lists", SHARES).names == [whole[user] for user in some]


@settings(deadline=None, max_examples=8)
@given(st.sampled_from(sorted(SHARES)), st.floats(0.3, 3))
def test_a_share_that_changes_moves_users_into_or_out_of_its_arm_only(arm: str, factor: float) -> None:
    """No user moves between two arms whose shares keep their proportion."""
    before, after = arms_of(SHARES), arms_of(SHARES | {arm: SHARES[arm] * factor})
    moved = before != after
    assert ((after if factor >= 1 else before)[moved] == arm).all()
    share = SHARES[arm]
    new = share * factor / (1 - share + share * factor)
    assert moved.mean() == pytest.approx(abs(new - share), abs=0.02)


def test_two_experiments_assign_independently() -> None:
    """Arms of one experiment are independent of those of another."""
    one, other = arms_of(SHARES) == "exploring", arms_of(SHARES, "another") == "exploring"
    assert (one & other).mean() == pytest.approx(0.01, abs=0.006)


def test_shares_may_be_those_of_the_user() -> None:
    """Learned shares differ by segment and kind; a user is never assigned to an arm that its shares leave out."""
    mine = [SHARES if position % 2 else {"unadjusted": 1.0} for position in range(len(USERS))]
    found = assign(USERS, "lists", mine)
    assert set(found.names[::2]) == {"unadjusted"}
    assert found.names[1::2] == assign(USERS[1::2], "lists", SHARES).names


def test_what_cannot_be_assigned_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 0"):
        assign(USERS[:2], "lists", {"unadjusted": 0.0})
    with pytest.raises(ValueError, match="for 2 users"):
        assign(USERS[:2], "lists", [SHARES])
    with pytest.raises(ValueError, match="unknown policy"):
        Arm.of("best")
    with pytest.raises(ValueError, match=r"sum to 0\.9"):
        ExperimentSettings(shares={"unadjusted": 0.9})


def test_an_arm_may_have_its_own_weight_of_rising_interests() -> None:
    assert Arm.of("shift_adjusted@0.75") == ("shift_adjusted", 0.75)
    assert Arm.of("exploring") == ("exploring", None)


def test_no_users_are_assigned_no_arms() -> None:
    assert assign([], "lists", SHARES).names == []


def test_uniforms_are_uniform_and_uncorrelated() -> None:
    """Ten numbers per user: each uniform, no two correlated."""
    numbers = uniforms(USERS, "test", 10)
    assert numbers.shape == (len(USERS), 10)
    assert ((numbers > 0) & (numbers < 1)).all()
    assert np.abs(numbers.mean(axis=0) - 0.5).max() < 0.02
    assert np.abs(np.corrcoef(numbers.T) - np.eye(10)).max() < 0.06
