"""Tabular reinforcement learning of the reaction to an alert: Q-learning and SARSA over states and actions.

A state is the kind of the open alert, its age, and the user's response to the last recommendations; an action is a
policy of `assignment`: unchanged recommendations, blend towards what rises, reset to what is recent, explore. Two
update rules, both with the learning rate 1 / visits^`RATE_EXPONENT` (Even-Dar & Mansour 2003):

- Q-learning (Watkins & Dayan 1992) uses the best action of the following state;
- SARSA (Rummery & Niranjan 1994) the action taken there, so it includes the cost of exploring.

They are alternatives to the bandits, which need no following state and are the default.
"""

# Used by the policy benchmark only, until the experiment settings offer learning from states.

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int64

from shift_assets.arrays import Float64Array, Int64Array
from shift_assets.contracts.shift import ALERT_KINDS, NO_SHIFT
from shift_assets.experiments.assignment import EXPLORING, RECENCY_REWEIGHTED, SHIFT_ADJUSTED, UNADJUSTED

ACTIONS = {"keep": UNADJUSTED, "blend": SHIFT_ADJUSTED, "reset": RECENCY_REWEIGHTED, "explore": EXPLORING}
"""Possible reactions to an alert, and the policy of each."""
KINDS = (NO_SHIFT, *ALERT_KINDS)
AGE_BINS = (3, 7, 14)
"""Age of an alert in days at which the next bin begins."""
RESPONSES = ("no list yet", "ignored", "clicked")
RATE_EXPONENT = 0.7
STATES = len(KINDS) * (len(AGE_BINS) + 1) * len(RESPONSES)


def state_of(
    kind: Int64[Int64Array, " user"], age_days: Int64[Int64Array, " user"], response: Int64[Int64Array, " user"]
) -> Int64[Int64Array, " user"]:
    """Number of the state, [user].

    Args:
        kind: Index into KINDS, [user].
        age_days: Age of the alert, ignored without one, [user].
        response: Index into RESPONSES, [user].
    """
    age = np.where(kind == 0, 0, np.searchsorted(AGE_BINS, age_days, side="right"))
    return np.asarray((kind * (len(AGE_BINS) + 1) + age) * len(RESPONSES) + response, dtype=np.int64)


@dataclass
class ActionValues:
    """Value [state, action]: the expected discounted reward after an action in a state."""

    discount: float
    values: Float64Array = field(default_factory=lambda: np.zeros((STATES, len(ACTIONS))))
    visits: Int64Array = field(default_factory=lambda: np.zeros((STATES, len(ACTIONS)), dtype=np.int64))

    def q_learning(self, state: Int64Array, action: Int64Array, reward: Float64Array, following: Int64Array) -> None:
        """Update from one step of every user; `following[user]` is the next state."""
        self._update(state, action, reward + self.discount * self.values[following].max(axis=1))

    def sarsa(
        self,
        state: Int64Array,
        action: Int64Array,
        reward: Float64Array,
        following: Int64Array,
        next_action: Int64Array,
    ) -> None:
        """Update from one step of every user; `next_action[user]` is the action taken in the next state."""
        self._update(state, action, reward + self.discount * self.values[following, next_action])

    def probabilities(
        self, state: Int64[Int64Array, " user"], exploring_share: float
    ) -> Float64[Float64Array, "user action"]:
        """Probability [user, action] of the epsilon-greedy policy with `exploring_share`; ties share equally."""
        own = self.values[state]
        best = own == own.max(axis=1, keepdims=True)
        return np.asarray(exploring_share / own.shape[1] + (1 - exploring_share) * best / best.sum(axis=1)[:, None])

    def _update(self, state: Int64Array, action: Int64Array, target: Float64Array) -> None:
        """Users of the same state and action update it by their mean, about as one update per user would."""
        cell = state * self.values.shape[1] + action
        seen = np.bincount(cell, minlength=self.values.size).reshape(self.values.shape)
        total = np.bincount(cell, weights=target, minlength=self.values.size).reshape(self.values.shape)
        updated = seen > 0
        self.visits += seen
        retained = np.ones_like(self.values)
        retained[updated] = (1 - self.visits[updated] ** -RATE_EXPONENT) ** seen[updated]
        self.values[updated] = (retained * self.values)[updated] + (1 - retained[updated]) * total[updated] / seen[
            updated
        ]


def choose(
    probabilities: Float64[Float64Array, "user action"], random_draws: Float64[Float64Array, " user"]
) -> Int64[Int64Array, " user"]:
    """Action [user] drawn with `probabilities[user, action]` by `random_draws[user]`, uniform in (0, 1)."""
    taken = (np.cumsum(probabilities, axis=1) < random_draws[:, None]).sum(axis=1)
    return np.asarray(np.minimum(taken, probabilities.shape[1] - 1), dtype=np.int64)
