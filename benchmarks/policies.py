"""Policies side by side where the truth is known: what they earn, what learning them costs, what estimates are worth.

    python benchmarks/policies.py            # two minutes of one processor
    python benchmarks/policies.py --part estimates --repetitions 1000

The shop is simulated: 25 % of the users shift, 10 % are given gifts, alerts are those of the e-value at A = 10 with
its delays and its false ones. Lists of ten are made every morning of what was seen until the day before; readers
respond by what they like that day, look less at lower places and tire of what they saw (`simulate.responses`).
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from report import recorded
from shift_assets.contracts.day import day_number
from shift_assets.contracts.outcomes import RECOMMENDATION_OUTCOMES
from shift_assets.contracts.shift import NO_SHIFT, SEGMENT_SHIFTS, SHIFT_ALERTS
from shift_assets.evaluate.opened_alerts import alerts_from_scores
from shift_assets.experiments.assignment import EXPLORING, RECENCY_REWEIGHTED, SHIFT_ADJUSTED, UNADJUSTED, Arm, assign
from shift_assets.experiments.bandits import Cell, arm_shares
from shift_assets.experiments.exploration import (
    KEEP_PROBABILITY,
    Explored,
    best_by_category,
    emerging,
    explore,
    trust,
    value_draws,
)
from shift_assets.experiments.tabular import ACTIONS, KINDS, ActionValues, choose, state_of
from shift_assets.interest.histories import histories
from shift_assets.outcomes.estimates import resamples
from shift_assets.outcomes.off_policy import LoggedFeedback, OffPolicyEstimates, mixture, off_policy
from shift_assets.outcomes.sequential_test import Difference, difference, fixed_horizon_interval, sequential
from shift_assets.recommend.ranking.score_scaling import scale_to_best
from shift_assets.recommend.shift_adaptation.rising_boost import boost_rising
from shift_assets.settings.root import EvidenceSettings, ExperimentSettings
from shift_assets.shift.detector.base import EValue
from shift_assets.simulate.interest_series import simulated_series
from shift_assets.simulate.population import KINDS as PLANTED
from shift_assets.simulate.population import build_block, user_ids
from shift_assets.simulate.responses import FATIGUE_DECAY, Responses, examination_probability
from shift_assets.simulate.scenarios import scenario
from shift_assets.simulate.simulation import PlantedShares, Simulation
from shift_assets.simulate.world import build_world

PLACES, SLOTS = 10, 2
FIRST_DAY, LAST_DAY = 60, 149
OPEN_DAYS = 28
HALF_LIFE_DAYS, RECENT_HALF_LIFE_DAYS = 60.0, 7.0
CONFIDENCE = 0.7
SWITCH = "switch"
ARMS = (
    "unadjusted",
    "recency_reweighted",
    "shift_adjusted@0.25",
    "shift_adjusted@0.5",
    "shift_adjusted@0.75",
    EXPLORING,
)
DISCOUNT, TRIED = 0.3, 0.1


class Shop:
    """A simulated shop: what was seen by day, the alerts, and the readers. Axes [day, user, category]."""

    def __init__(self, users: int, seed: int) -> None:
        base = scenario("base", users, seed).model_dump()
        quiet = dict.fromkeys(PlantedShares.model_fields, 0.0)
        planted = PlantedShares(
            **(quiet | {"abrupt": 0.1, "partial": 0.06, "gradual": 0.06, "seasonal_return": 0.03, "gift": 0.1})
        )
        self.simulation = Simulation(**(base | {"items": 400, "planted": planted}))
        self.world = build_world(self.simulation)
        self.block = build_block(self.simulation, self.world, 0)
        self.readers = Responses(self.simulation, self.world, self.block)
        self.item_category = self.world.item_category.astype(np.int64)
        self.categories = self.world.categories
        found = simulated_series(self.simulation)
        ids = user_ids(self.simulation, self.block)
        self.ids = ids
        self.segment = np.array([found.segments[user] for user in ids])
        self.first = day_number(self.simulation.first_day)
        self.shares = self._daily_shares(found.series, ids)
        self.alerts = self._alerts(found.series, ids)
        self.interests = {day: self.readers.interests(day) for day in range(FIRST_DAY, LAST_DAY + 1)}
        self.shifting = np.isin(
            self.block.kind, [PLANTED.index(k) for k in ("abrupt", "partial", "gradual", "seasonal_return")]
        )
        self._profiles()

    def _daily_shares(self, series: pa.Table, ids: list[str]) -> np.ndarray:
        day = series["day"].cast(pa.int32()).to_numpy() - self.first
        user = pc.index_in(series["user_id"], value_set=pa.array(ids)).to_numpy()
        category = pc.index_in(series["category"], value_set=pa.array(self.categories)).to_numpy()
        shares = np.zeros((self.simulation.days, len(ids), len(self.categories)), np.float32)
        shares[day, user, category] = series["score"].to_numpy()
        total = shares.sum(axis=2, keepdims=True)
        np.divide(shares, total, out=shares, where=total > 0)
        return shares

    def _alerts(self, series: pa.Table, ids: list[str]) -> list[tuple[int, int, int]]:
        """(day, user, onset day) of every alert, by day."""
        found: list[tuple[int, int, int]] = []
        for segment in sorted(set(self.segment.tolist())):
            own = histories(series.filter(pc.equal(series["segment"], segment)))
            place = pc.index_in(own.users, value_set=pa.array(ids)).to_numpy()
            alerts = alerts_from_scores(own, EValue(EvidenceSettings()).score(own), math.log(10))
            found += zip(
                (alerts.day - self.first).tolist(),
                place[alerts.user].tolist(),
                (alerts.onset_day - self.first).tolist(),
                strict=True,
            )
        return sorted(found)

    def _profiles(self) -> None:
        """Long and recent taste [day, user, category] as of the morning."""
        days, users, categories = self.shares.shape
        self.long = np.zeros((days, users, categories), np.float32)
        self.recent = np.zeros_like(self.long)
        overall = self.shares[:FIRST_DAY].sum(axis=(0, 1))
        overall = overall / overall.sum()
        long, recent = np.tile(2 * overall, (users, 1)), np.zeros((users, categories))
        for day in range(days):
            self.long[day] = long / long.sum(axis=1, keepdims=True)
            mixed = recent + 0.2 * self.long[day]
            self.recent[day] = mixed / mixed.sum(axis=1, keepdims=True)
            long = long * 0.5 ** (1 / HALF_LIFE_DAYS) + self.shares[day]
            recent = recent * 0.5 ** (1 / RECENT_HALF_LIFE_DAYS) + self.shares[day]

    def open_alerts(self, day: int) -> dict[int, tuple[int, int]]:
        """User: (day, onset day) of the newest alert opened before the morning of `day` and still open."""
        return {user: (at, onset) for at, user, onset in self.alerts if day - OPEN_DAYS <= at < day}


class Morning(NamedTuple):
    """What all lists of a day are made of; [user, item] or [user, category]."""

    scores: np.ndarray
    recent: np.ndarray
    gains: np.ndarray
    emerging: np.ndarray
    age: np.ndarray
    alerted: np.ndarray


def mornings(shop: Shop) -> dict[int, Morning]:
    return {day: morning(shop, day) for day in range(FIRST_DAY, LAST_DAY + 1)}


def morning(shop: Shop, day: int) -> Morning:
    users, categories = shop.shares.shape[1:]
    by_item = shop.item_category
    gains, since, age = np.zeros((users, categories)), np.zeros((users, categories)), np.zeros(users, np.int64)
    rows = []
    for user, (opened, onset) in shop.open_alerts(day).items():
        before, after = (part.mean(axis=0) for part in (shop.long[onset, user][None], _active(shop, user, onset, day)))
        gain = np.maximum(after - before, 0)
        gain[gain < 0.05] = 0
        if gain.max() > 0:
            gains[user] = gain / gain.max()
            age[user] = day - opened
            since[user] = shop.shares[opened + 1 : day, user].sum(axis=0)
            recent_mix = shop.shares[onset : opened + 1, user]
            recent_mix = recent_mix[recent_mix.sum(axis=1) > 0].mean(axis=0)
            rows.append(_alert(shop, day, user, before, recent_mix))
    alerts = pa.Table.from_pylist(rows, schema=SHIFT_ALERTS.schema)
    trusted = trust(alerts, shop.ids, shop.categories, since)
    return Morning(
        scale_to_best(shop.long[day][:, by_item] * shop.readers.appeal.astype(np.float32)),
        scale_to_best(shop.recent[day][:, by_item] * shop.readers.appeal.astype(np.float32)),
        gains,
        emerging(gains, trusted, SEGMENT_SHIFTS.empty(), shop.categories),
        age,
        np.any(gains, axis=1),
    )


def _active(shop: Shop, user: int, first: int, day: int) -> np.ndarray:
    own: np.ndarray = shop.shares[first:day, user]
    active: np.ndarray = own[own.sum(axis=1) > 0]
    return active


def _alert(shop: Shop, day: int, user: int, before: np.ndarray, after: np.ndarray) -> dict[str, object]:
    moved: list[dict[str, Any]] = [
        {"category": name, "share_before": float(b), "share_after": float(a), "contribution": 0.0}
        for name, b, a in zip(shop.categories, before, after, strict=True)
    ]
    return {
        "day": shop.simulation.first_day + timedelta(days=day),
        "segment": shop.segment[user],
        "alert_id": f"{user:032x}",
        "user_id": shop.ids[user],
        "status": "continued",
        "kind": SWITCH,
        "severity": "low",
        "magnitude": 0.5,
        "confidence": CONFIDENCE,
        "onset_day": shop.simulation.first_day,
        "rising": [m for m in moved if m["share_after"] > m["share_before"]],
        "falling": [m for m in moved if m["share_after"] < m["share_before"]],
        "explanation": "",
        "detector": "e_value",
    }


def top(scores: np.ndarray) -> np.ndarray:
    best = np.argpartition(-scores, PLACES - 1, axis=1)[:, :PLACES]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1)


def list_of(shop: Shop, made: Morning, arm: str, values: np.ndarray, random: np.random.Generator) -> Explored:
    """Lists of `arm` for everybody, with the odds of their places."""
    policy, weight = Arm.of(arm)
    if policy == RECENCY_REWEIGHTED:
        return _certain(top(made.recent))
    if policy == UNADJUSTED:
        return _certain(top(made.scores))
    pulled = made.scores.copy()
    rows = np.flatnonzero(made.alerted)
    gains = made.gains[rows][:, shop.item_category].astype(np.float32)
    pulled[rows] = boost_rising(pulled[rows], gains, 0.5 if weight is None else weight)
    lists = top(pulled)
    if policy == SHIFT_ADJUSTED:
        return _certain(lists)
    candidates = best_by_category(pulled.astype(np.float64), shop.item_category, lists, made.emerging > 0)
    return explore(lists, candidates, made.emerging, values, random.random((len(lists), SLOTS)))


def _certain(lists: np.ndarray) -> Explored:
    return Explored(lists, np.ones(lists.shape), np.zeros(lists.shape, dtype=bool))


class Earned(NamedTuple):
    """Expected clicks per list: everybody, users in the 28 days after their shift, users who never shift."""

    everybody: float
    after_shift: float
    stable: float
    days: np.ndarray


class Answer(NamedTuple):
    """What a day's lists were and how readers responded, [user] and [user, place]."""

    arm: np.ndarray
    items: np.ndarray
    drawn: np.ndarray
    clicked: np.ndarray
    bought: np.ndarray


def run(shop: Shop, made: dict[int, Morning], arms: tuple[str, ...], learner: Learner) -> Earned:
    """Ninety days of one way to choose arms; expected clicks, so that the noise of clicks stays out of the table."""
    users = len(shop.ids)
    shown = np.zeros((users, shop.simulation.items), np.float32)
    random = np.random.default_rng(7)
    rows = np.arange(users)[:, None]
    totals, counts, days = np.zeros(3), np.zeros(3), []
    for day, now in made.items():
        lists = {arm: list_of(shop, now, arm, learner.values(day), random) for arm in arms}
        arm = learner.choose(day, now)
        items = np.stack([lists[name].items for name in arms], axis=1)[np.arange(users), arm]
        drawn = np.stack([lists[name].drawn for name in arms], axis=1)[np.arange(users), arm]
        chances = shop.readers.click_probabilities(shop.interests[day], items, shown[rows, items])
        clicked, bought = shop.readers.respond(chances, day)
        learner.learn(Answer(arm, items, drawn, clicked, bought))
        shown *= FATIGUE_DECAY
        shown[rows, items] += 1
        own = chances.sum(axis=1)
        after = shop.shifting & (shop.block.starts <= day) & (day < shop.block.starts + 28)
        groups = (np.ones(users, bool), after, ~shop.shifting)
        totals += [own[group].sum() for group in groups]
        counts += [group.sum() for group in groups]
        days.append(own.mean())
    everybody, after_shift, stable = (totals / counts).tolist()
    return Earned(everybody, after_shift, stable, np.array(days))


class Learner:
    """One way to choose an arm per user; this one always takes the first."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.outcomes = RECOMMENDATION_OUTCOMES.empty()
        self.rows: list[dict[str, Any]] = []
        self.settings = ExperimentSettings(half_life_days=14)

    def date(self, day: int) -> date:
        return self.shop.simulation.first_day + timedelta(days=day)

    def values(self, day: int) -> np.ndarray:
        return value_draws(self.outcomes, self.date(day), self.shop.categories, self.settings, seed=day)

    def choose(self, day: int, now: Morning) -> np.ndarray:
        self.today = day
        return np.zeros(len(now.age), np.int64)

    def learn(self, answer: Answer) -> None:
        """Update the exploration values of the next day with what was explored."""
        category = self.shop.item_category[answer.items[answer.drawn]]
        shown = np.bincount(category, minlength=len(self.shop.categories))
        met = np.bincount(category, answer.clicked[answer.drawn], minlength=len(self.shop.categories))
        explored = [
            {"category": name, "shown": int(s), "met": int(m)}
            for name, s, m in zip(self.shop.categories, shown, met, strict=True)
            if s
        ]
        self._remember(self.today, [self._row(self.today, "all", EXPLORING, [], explored)])

    def _row(
        self, day: int, segment: str, arm: str, won: list[dict[str, Any]], explored: list[dict[str, Any]]
    ) -> dict[str, Any]:
        return {
            "day": self.date(day),
            "segment": segment,
            "policy": arm,
            "horizon_days": 1,
            "k": PLACES,
            "users": 0,
            "by_shift_kind": won,
            "explored": explored,
        }

    def _remember(self, day: int, rows: list[dict[str, Any]]) -> None:
        self.rows = [row for row in self.rows if (self.date(day) - row["day"]).days < 60] + rows
        self.outcomes = pa.Table.from_pylist(self.rows, schema=RECOMMENDATION_OUTCOMES.schema)


class Bandit(Learner):
    """Thompson or LinUCB over the arms, with sticky random assignment; None keeps equal shares."""

    def __init__(self, shop: Shop, learning: str | None) -> None:
        super().__init__(shop)
        self.settings = ExperimentSettings(
            shares=dict.fromkeys(ARMS, 1 / len(ARMS)),
            learning=learning or "fixed",
            half_life_days=14,
            minimum_share=0.02,
            maximum_exploring_share=0.2,
        )

    def choose(self, day: int, now: Morning) -> np.ndarray:
        self.today = day
        kind = np.where(now.alerted, SWITCH, NO_SHIFT)
        cells = [Cell(s, k) for s, k in zip(self.shop.segment.tolist(), kind.tolist(), strict=True)]
        shares = arm_shares(self.outcomes, self.date(day), sorted(set(cells)), self.settings)
        assignment = assign(self.shop.ids, self.settings.name, [shares[cell] for cell in cells])
        place = np.array([ARMS.index(arm) for arm in assignment.arms])
        self.kind = kind
        return place[assignment.arm]

    def learn(self, answer: Answer) -> None:
        super().learn(answer)
        won, paid = np.any(answer.clicked, axis=1), np.any(answer.bought, axis=1)
        rows = []
        for segment in sorted(set(self.shop.segment.tolist())):
            for at, name in enumerate(ARMS):
                parts = []
                for kind in (NO_SHIFT, SWITCH):
                    of = (self.shop.segment == segment) & (answer.arm == at) & (self.kind == kind)
                    parts.append(
                        {
                            "shift_kind": kind,
                            "users": int(of.sum()),
                            "clicked": int(won[of].sum()),
                            "purchased": int(paid[of].sum()),
                        }
                    )
                rows.append(self._row(self.today, segment, name, parts, []))
        self._remember(self.today, rows)


class Tabular(Learner):
    """Q-learning or SARSA, one table for all users."""

    def __init__(self, shop: Shop, rule: str) -> None:
        super().__init__(shop)
        self.table, self.rule = ActionValues(DISCOUNT), rule
        self.random = np.random.default_rng(11)
        self.response: np.ndarray = np.zeros(len(shop.ids), np.int64)
        self.before: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def choose(self, day: int, now: Morning) -> np.ndarray:
        self.today = day
        kind = np.where(now.alerted, KINDS.index(SWITCH), 0)
        state = state_of(kind, now.age, self.response)
        action = choose(self.table.probabilities(state, TRIED), self.random.random(len(state)))
        if self.before is not None:
            past, done, reward = self.before
            if self.rule == "sarsa":
                self.table.sarsa(past, done, reward, state, action)
            else:
                self.table.q_learning(past, done, reward, state)
        self.now = state, action
        return action

    def learn(self, answer: Answer) -> None:
        super().learn(answer)
        self.before = (*self.now, answer.clicked.sum(axis=1).astype(float))
        self.response = 1 + np.any(answer.clicked, axis=1)


def oracle(shop: Shop, made: dict[int, Morning]) -> Earned:
    """Lists by what users truly like that day."""
    exact = {
        day: now._replace(
            scores=scale_to_best((shop.interests[day][:, shop.item_category] * shop.readers.appeal).astype(np.float32))
        )
        for day, now in made.items()
    }
    return run(shop, exact, (UNADJUSTED,), Learner(shop))


def rewards(shop: Shop, made: dict[int, Morning]) -> None:
    print(
        "\nExpected clicks per list of ten, days 60 to 149, and regret against lists by the true interests of the day\n"
    )
    print(
        "| policy | everybody | regret | 28 days after a shift | users who never shift | last 30 days | processor s |"
    )
    print("|---|---|---|---|---|---|---|")
    entrants: list[tuple[str, Callable[[], Earned]]] = [("oracle", lambda: oracle(shop, made))]
    entrants += [(arm, partial(lambda arm: run(shop, made, (arm,), Learner(shop)), arm)) for arm in ARMS]
    entrants += [
        (name, partial(lambda learning: run(shop, made, ARMS, Bandit(shop, learning)), learning))
        for name, learning in (("equal shares", None), ("Thompson", "thompson"), ("LinUCB", "linucb"))
    ]
    actions = tuple(ACTIONS.values())
    entrants += [
        (name, partial(lambda rule: run(shop, made, actions, Tabular(shop, rule)), rule))
        for name, rule in (("Q-learning", "q_learning"), ("SARSA", "sarsa"))
    ]
    best = 0.0
    for name, entrant in entrants:
        began = time.process_time()
        found = entrant()
        best = best or found.everybody
        print(
            f"| {name} | {found.everybody:.4f} | {best - found.everybody:.4f} | {found.after_shift:.4f} "
            f"| {found.stable:.4f} | {found.days[-30:].mean():.4f} | {time.process_time() - began:.0f} |",
            flush=True,
        )


def estimates(shop: Shop, made: dict[int, Morning], repetitions: int) -> None:
    print(f"\nOff-policy estimates of clicks per place on day 110, {repetitions} drawn logs, 95 % intervals\n")
    print("| users | policy evaluated | effective | truth | estimate | mean | standard deviation | covered | refused |")
    print("|---|---|---|---|---|---|---|---|---|")
    shares = {EXPLORING: 0.3, SHIFT_ADJUSTED: 0.3, UNADJUSTED: 0.4}
    # Nobody is ever assigned to the last policy: nothing supports its estimate.
    day, targets = 110, (SHIFT_ADJUSTED, UNADJUSTED, RECENCY_REWEIGHTED)
    now, values = made[day], np.full((2, len(shop.categories)), 0.5)
    own = {arm: list_of(shop, now, arm, values, np.random.default_rng(0)).items for arm in targets}
    everything = np.tile(np.arange(shop.simulation.items), (len(shop.ids), 1))
    chances = shop.readers.click_probabilities(
        shop.interests[day], everything, np.zeros(everything.shape)
    ) / examination_probability(shop.simulation.items)
    model = 0.5 * (now.scores + now.recent)
    model = model * (chances.mean() / model.mean())
    examination = examination_probability(PLACES)
    truth = {arm: float((np.take_along_axis(chances, own[arm], axis=1) * examination).mean()) for arm in targets}
    for n in (30, 60, 120, 250, 1000):
        kept: dict[str, list[OffPolicyEstimates]] = {arm: [] for arm in targets}
        for repetition in range(repetitions):
            random = np.random.default_rng([repetition, n])
            users = random.integers(0, len(shop.ids), n)
            assignment = assign([f"{place}" for place in range(n)], f"{repetition} of {n}", shares)
            part = Morning(*(field[users] for field in now))
            explored = list_of(shop, part, EXPLORING, values, random)
            lists = {arm: own[arm][users] for arm in targets}
            made_by = {**lists, EXPLORING: explored.items}
            shown = np.stack([made_by[arm] for arm in assignment.arms], axis=1)[np.arange(n), assignment.arm]
            stayed = np.where(explored.drawn, KEEP_PROBABILITY, 1.0)
            by_lot = np.where(
                shown == lists[SHIFT_ADJUSTED], stayed, np.where(shown == explored.items, explored.propensities, 0.0)
            )
            shown_by = [by_lot if arm == EXPLORING else (shown == lists[arm]).astype(float) for arm in assignment.arms]
            behaviour = mixture(assignment.probabilities, np.stack(shown_by, axis=1))
            rows = users[:, None]
            clicked = (random.random(shown.shape) < chances[rows, shown] * examination).astype(float)
            draws = resamples(n, 200, repetition)
            for arm in targets:
                log = LoggedFeedback(
                    clicked,
                    behaviour,
                    (shown == lists[arm]).astype(float),
                    np.ones(shown.shape, bool),
                    model[rows, shown] * examination,
                    model[rows, lists[arm]] * examination,
                )
                kept[arm].append(off_policy(log, 0, draws))
        for arm in targets:
            estimates_of = {
                "IPS": [one.ips for one in kept[arm]],
                "SNIPS": [one.snips for one in kept[arm]],
                "DR": [one.dr for one in kept[arm]],
            }
            for name, drawn in estimates_of.items():
                found = [one for one in drawn if one is not None]
                refused = 1 - len(found) / repetitions
                if len(found) < 20:
                    print(f"| {n} | {arm} | | {truth[arm]:.4f} | {name} | | | | {refused:.0%} |")
                    continue
                covered = np.mean([one.low <= truth[arm] <= one.high for one in found])
                values_ = np.array([one.value for one in found])
                effective = np.mean([one.effective_users for one in kept[arm]])
                print(
                    f"| {n} | {arm} | {effective:.0f} | {truth[arm]:.4f} | {name} "
                    f"| {values_.mean():.4f} | {values_.std():.4f} | {covered:.0%} | {refused:.0%} |",
                    flush=True,
                )


def looks(repetitions: int) -> None:
    print(f"\nA/A experiments looked at on 90 days, 150 users a side, {repetitions} of each; alpha 5 %\n")
    print("| spread of users' rates | plain interval excludes 0 on some day | sequential test | on the last day only |")
    print("|---|---|---|---|")
    for spread in (0.0, 0.1, 0.2):
        plain = safe = last = 0
        for repetition in range(repetitions):
            random = np.random.default_rng([repetition, int(100 * spread)])
            rate = np.clip(random.normal(0.3, spread, (2, 150)), 0, 1)
            total = np.cumsum(random.random((90, 2, 150)) < rate, axis=0).astype(float)
            seen: list[Difference] = []
            for day in range(90):
                exposure = np.full(150, day + 1.0)
                found = difference((total[day, 0], total[day, 1]), (exposure, exposure))
                assert found is not None
                seen.append(found)
            excluded = [not low <= 0 <= high for low, high in map(fixed_horizon_interval, seen)]
            plain, last = plain + any(excluded), last + excluded[-1]
            safe += sequential(seen, 0.03).p_value <= 0.05
        print(f"| {spread} | {plain / repetitions:.1%} | {safe / repetitions:.1%} | {last / repetitions:.1%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--part", choices=("rewards", "estimates", "looks"))
    arguments = parser.parse_args()
    if arguments.part != "looks":
        shop = Shop(arguments.users, arguments.seed)
        made = mornings(shop)
        print(f"{len(shop.alerts)} alerts on {len(shop.ids)} users, {int(shop.shifting.sum())} of whom shift")
        if arguments.part != "estimates":
            rewards(shop, made)
        if arguments.part != "rewards":
            estimates(shop, made, arguments.repetitions)
    if arguments.part in (None, "looks"):
        looks(arguments.repetitions)
    print(f"\n{time.process_time():.0f} processor seconds")


if __name__ == "__main__":
    with recorded("15_policies"):
        main()
