"""Learning by trial what to do about an alarm: Q-learning and SARSA on a table of states and actions.

A state is the kind of the open alarm, its age, and what the user did with the last list; an action is a policy of
`assignment`: keep the list as it is, blend towards what rises, reset to what is recent, explore. Two rules fill the
table, both with the learning rate 1 / visits^`RATE_EXPONENT` (Even-Dar & Mansour 2003):

- Q-learning (Watkins & Dayan 1992) looks at the best action of the state that follows;
- SARSA (Rummery & Niranjan 1994) at the action that was really taken there, so it counts the cost of exploring.

They are documented alternatives to the bandits, which need no state that follows and are the default.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from shift_assets.arrays import Float64Array, Int64Array
from shift_assets.contracts.shift import ALERT_KINDS, NO_SHIFT
from shift_assets.experiments.assignment import EXPLORING, RECENCY_REWEIGHTED, SHIFT_ADJUSTED, UNADJUSTED

ACTIONS = {"keep": UNADJUSTED, "blend": SHIFT_ADJUSTED, "reset": RECENCY_REWEIGHTED, "explore": EXPLORING}
"""What may be done about an alarm, and the policy that does it."""
KINDS = (NO_SHIFT, *ALERT_KINDS)
AGE_BINS = (3, 7, 14)
"""Days of an alarm's age at which the next bin begins."""
RESPONSES = ("no list yet", "ignored", "clicked")
RATE_EXPONENT = 0.7
STATES = len(KINDS) * (len(AGE_BINS) + 1) * len(RESPONSES)


def state_of(kind: Int64Array, age_days: Int64Array, response: Int64Array) -> Int64Array:
    """Number [user] of the state; `kind` indexes KINDS, `response` RESPONSES. Without an alarm age says nothing."""
    age = np.where(kind == 0, 0, np.searchsorted(AGE_BINS, age_days, side="right"))
    return np.asarray((kind * (len(AGE_BINS) + 1) + age) * len(RESPONSES) + response, dtype=np.int64)


@dataclass
class ActionValues:
    """What each action is worth in each state, [state, action]: the discounted rewards that follow it."""

    discount: float
    values: Float64Array = field(default_factory=lambda: np.zeros((STATES, len(ACTIONS))))
    visits: Int64Array = field(default_factory=lambda: np.zeros((STATES, len(ACTIONS)), dtype=np.int64))

    def q_learning(self, state: Int64Array, action: Int64Array, reward: Float64Array, following: Int64Array) -> None:
        """Learns from one step [user]; `following[user]` is the state that came after."""
        self._update(state, action, reward + self.discount * self.values[following].max(axis=1))

    def sarsa(
        self,
        state: Int64Array,
        action: Int64Array,
        reward: Float64Array,
        following: Int64Array,
        next_action: Int64Array,
    ) -> None:
        """Learns from one step [user]; `next_action[user]` is what was done in the state that came after."""
        self._update(state, action, reward + self.discount * self.values[following, next_action])

    def probabilities(self, state: Int64Array, exploring_share: float) -> Float64Array:
        """Odds [user, action]: any action alike with `exploring_share`, else the best one; ties are parted."""
        own = self.values[state]
        best = own == own.max(axis=1, keepdims=True)
        return np.asarray(exploring_share / own.shape[1] + (1 - exploring_share) * best / best.sum(axis=1)[:, None])

    def _update(self, state: Int64Array, action: Int64Array, target: Float64Array) -> None:
        """Users of one state and action at once teach their mean, as one lesson per user would about do."""
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


def choose(probabilities: Float64Array, random_draws: Float64Array) -> Int64Array:
    """Action [user] drawn with `probabilities[user, action]` by `random_draws[user]`, uniform in (0, 1)."""
    taken = (np.cumsum(probabilities, axis=1) < random_draws[:, None]).sum(axis=1)
    return np.asarray(np.minimum(taken, probabilities.shape[1] - 1), dtype=np.int64)
