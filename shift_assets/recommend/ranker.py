"""The learned blend: how much each source's word counts, found out from what users took next.

Sources are fitted as of days in the past; each puts forward its best items for every user; what the user took in the
days after is the label. A candidate is described by every source's score (over the user's best), its reciprocal rank
there, and whether it is among the source's best; by the item's popularity, newness and rest, the share of its category
in the user's taste, and what the user did with the item before. The user's activity multiplies scores, ranks and
traits, so that other words count for users of few events than for users of many. A linear utility of all these is
fitted by the listwise softmax loss (Cao et al., ICML 2007): per user, the mean over the taken items of -log(share of
exp(utility) among the candidates), plus a small penalty.

Gradient-boosted trees on the same features were measured beside it: no better on held-out weeks, 25 times as dear.

The fitted utility is compared, on users held out, with every source alone and with the fixed blend, and the best of
them is kept: a learned blend that does not beat its best source is that source.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from shift_assets.contracts import BEHAVIORS
from shift_assets.models.ranking import best_columns, ndcg_at_k, recall_at_k
from shift_assets.models.sequences import Integers
from shift_assets.recommend.blend import normalised
from shift_assets.recommend.popularity import popularity
from shift_assets.recommend.rules import excluded_pairs, in_catalogue, places_of
from shift_assets.recommend.source import Inputs
from shift_assets.recommend.sources import SOURCES
from shift_assets.recommend.window import Flags, Floats, Window, blocks_of
from shift_assets.settings import RecommendationSettings, SourceName

Weights = npt.NDArray[np.float64]

RANK_OFFSET = 5.0
"""A source's first place counts 1, its place r (1 + offset) / (r + offset): half at the seventh."""
MUCH_ACTIVITY = 500
"""Events that count as 1 on the logarithmic scale of activity."""
POPULAR_DAYS = 7
RECENT_EVENTS = 20
KEEPING = [BEHAVIORS.index(name) + 1 for name in ("favorite", "cart")]
PENALTY = 1e-3
"""On the squared weights; a tenth and ten times as much foretell held-out weeks as well, within a hundredth."""
FOLDS = 4
LEAST_USERS = 30
"""Fewer tell sources apart by chance alone."""
MOST_USERS = 1_500
"""Users that a blend is fitted to, drawn by the seed where there are more: some 200 MiB of candidates."""
LEARNED, FIXED = "learned", "fixed"

OF_SOURCE = ("score", "rank", "listed", "score x activity", "rank x activity")
_ITEM_TRAITS = ("popularity", "newness", "rest")
_OWN_TRAITS = ("times", "recency", "turn", "bought", "kept")
_PLAIN_TRAITS = (*_ITEM_TRAITS, "category share", "recent category share", *_OWN_TRAITS)
TRAITS = (*_PLAIN_TRAITS, *(f"{name} x activity" for name in _PLAIN_TRAITS))
_SPOKEN_FOR = {"popularity": _ITEM_TRAITS, "repeats": _OWN_TRAITS}
"""Traits that count as the word of a source where the reason of a place is sought."""


class Traits(NamedTuple):
    """What is known of a window's users and items beside what the sources say, every trait in 0..1.

    `activity` [user] is log(1 + events) over log(1 + MUCH_ACTIVITY). `items` [item, trait] are popularity (log, over
    the most popular's), newness and rest (log of days since first and last met, over the window's). `shares` hold the
    shares of categories in all of a user's events and in the newest RECENT_EVENTS, [user, category code] each. `own`
    hold, [user, item] each, what the user did with the item: how often (log), how lately (by days, and by events
    since), whether it bought it, whether it kept it for later (favourite, cart).
    """

    activity: Floats
    items: Floats
    shares: tuple[sparse.csr_matrix, ...]
    own: tuple[sparse.csr_matrix, ...]
    categories: Integers

    @classmethod
    def of(cls, window: Window, log: Window) -> Traits:
        """Users as the histories of `window` show them, items as the whole `log` does."""
        activity = np.log1p(window.sequences.lengths) / np.log1p(MUCH_ACTIVITY)
        popular = np.log1p(popularity(log, POPULAR_DAYS))
        longest = max(int(log.ages.max(initial=0)), 1)
        known = log.items >= 0
        first, last = np.zeros(log.item_count), np.full(log.item_count, longest)
        np.maximum.at(first, log.items[known], log.ages[known])
        np.minimum.at(last, log.items[known], log.ages[known])
        items = [
            popular / max(popular.max(initial=0), 1),
            np.log1p(first) / np.log1p(longest),
            np.log1p(last) / np.log1p(longest),
        ]
        since = window.sequences.offsets[1:][window.owners] - 1 - np.arange(len(window.owners))
        categories = window.vocabulary.item_categories[1:]
        times = window.user_items(np.ones(len(since)))
        times.data = np.log1p(times.data) / np.log1p(MUCH_ACTIVITY)
        return cls(
            activity.astype(np.float32),
            np.stack(items, axis=1).astype(np.float32),
            tuple(
                _shares(window.user_items(weights), categories)
                for weights in (np.ones(len(since)), (since < RECENT_EVENTS).astype(np.float64))
            ),
            (
                times,
                _largest_of(window, 1 / (1 + window.ages)),
                _largest_of(window, 1 / np.sqrt(1 + since)),
                _largest_of(window, window.bought.astype(np.float64)),
                _largest_of(window, np.isin(window.sequences.behaviors, KEEPING).astype(np.float64)),
            ),
            categories,
        )

    def features(self, users: Integers, items: Integers) -> Floats:
        """The traits [pair, trait] of pairs of user and item; the second half is the first times the activity."""
        columns = [*self.items[items].T]
        columns += [_at(share, users, self.categories[items]) for share in self.shares]
        columns += [_at(done, users, items) for done in self.own]
        plain = np.stack(columns, axis=1)
        return np.concatenate([plain, plain * self.activity[users][:, None]], axis=1).astype(np.float32)


def _at(matrix: sparse.csr_matrix, rows: Integers, columns: Integers) -> Floats:
    """Values of the matrix at pairs of row and column."""
    if not len(rows):  # scipy gives a matrix for no pairs
        return np.zeros(0, dtype=np.float32)
    return np.asarray(matrix[rows, columns], dtype=np.float32).ravel()


def _shares(taken: sparse.csr_matrix, categories: Integers) -> sparse.csr_matrix:
    """Share [user, category code] of what was taken."""
    of_category = sparse.csr_matrix(
        (np.ones(len(categories), np.float32), (np.arange(len(categories)), categories)),
        shape=(len(categories), int(categories.max(initial=0)) + 1),
    )
    counts = taken @ of_category
    total = np.asarray(counts.sum(axis=1)).ravel()
    return (sparse.diags(1 / np.maximum(total, 1e-9)) @ counts).tocsr()


def _largest_of(window: Window, values: npt.NDArray[np.float64]) -> sparse.csr_matrix:
    """The largest of `values[event]` among the user's events of the item, [user, item]; zeros are left out."""
    kept = np.flatnonzero((values > 0) & ~window.returned & (window.items >= 0))
    pair = window.owners[kept] * max(window.item_count, 1) + window.items[kept]
    order = np.lexsort((values[kept], pair))
    newest = order[np.append(np.diff(pair[order]) != 0, True)[: len(order)]]
    return sparse.csr_matrix(
        (values[kept][newest].astype(np.float32), (window.owners[kept][newest], window.items[kept][newest])),
        shape=(len(window.sequences.users), window.item_count),
    )


class Pairs(NamedTuple):
    """Candidates, sorted by row and column of the scores; `features` [pair, feature], `listed` [pair, source]."""

    rows: Integers
    columns: Integers
    features: Floats
    listed: Flags


class Cut(NamedTuple):
    """Histories as of a day and what came after: `taken` [user, item] is 1 where the user took the item.

    `relevant` [user] counts the items taken, those among them that nobody had met before.
    """

    inputs: Inputs
    taken: sparse.csr_matrix
    relevant: Integers

    @classmethod
    def of(cls, inputs: Inputs, events_after: pa.Table) -> Cut:
        """`events_after`: clean_events; those of the `validation_days` after the inputs' day are looked at."""
        window = inputs.window
        last = window.day + timedelta(days=inputs.settings.validation_days)
        after = events_after.filter(
            (pc.field("day") > window.day) & (pc.field("day") <= last) & (pc.field("behavior") != "return")
        )
        users = pc.fill_null(pc.index_in(after["user_id"], value_set=pa.array(window.sequences.users, pa.string())), -1)
        names = pc.unique(after["item_id"])
        item = pc.index_in(after["item_id"], value_set=names).to_numpy()
        owner = users.to_numpy()
        known = owner >= 0
        met = sparse.csr_matrix(
            (np.ones(int(known.sum()), np.float32), (owner[known], item[known])),
            shape=(len(window.sequences.users), len(names)),
        ).sign()
        place = window.vocabulary.item_codes(names) - 1
        old = np.flatnonzero(place >= 0)
        to_items = sparse.csr_matrix(
            (np.ones(len(old), np.float32), (old, place[old])), shape=(len(names), window.item_count)
        )
        return cls(inputs, (met @ to_items).tocsr(), np.diff(met.indptr).astype(np.int64))


class Quality(NamedTuple):
    """How well held-out users are foretold: means of recall and NDCG in lists of the set length."""

    recall: float
    ndcg: float


class Ranked(NamedTuple):
    """`scores` [user, item] in 0..1, the best candidate of a user at 1, no candidate at 0.

    `sources` [user, item] is the place, in the blend's sources, of the one that spoke most for a candidate.
    """

    scores: Floats
    sources: Integers


@dataclass(frozen=True)
class Blend:
    """Weights of a utility, one per name of `feature_names(sources)`; `chosen`: learned, fixed, or a source's name.

    `judged` tells, for each that could have been chosen, how well it foretold the users held out, `users` in number.
    """

    sources: tuple[SourceName, ...]
    weights: tuple[float, ...]
    candidates: int
    chosen: str
    users: int
    judged: Mapping[str, Quality]

    def score(self, scores: Mapping[SourceName, Floats], traits: Traits, users: Integers, items: Integers) -> Ranked:
        """What the blend makes of `scores[source][user, item]`; a source that is absent puts nothing forward.

        `users` and `items` are the rows and columns of the scores as places in the window of the traits. What must not
        be recommended has score 0 in every source.
        """
        shape = (len(users), len(items))
        blocks = [scores.get(name, np.zeros(shape, dtype=np.float32)) for name in self.sources]
        pairs = candidate_pairs(blocks, traits, users, items, self.candidates)
        weights = np.array(self.weights, dtype=np.float32)
        utility = pairs.features @ weights
        best = np.full(len(users), -np.inf, dtype=np.float32)
        np.maximum.at(best, pairs.rows, utility)
        blended, sources = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.int64)
        # The smallest positive number: a candidate stays one however far it lies behind.
        blended[pairs.rows, pairs.columns] = np.maximum(np.exp(utility - best[pairs.rows]), np.finfo(np.float32).tiny)
        spoken = np.where(pairs.listed, pairs.features @ (self._speakers() * weights[:, None]), -np.inf)
        sources[pairs.rows, pairs.columns] = spoken.argmax(axis=1)
        return Ranked(blended, sources)

    def _speakers(self) -> Floats:
        """Which feature is the word of which source, [feature, source] of 0 and 1."""
        names = feature_names(self.sources)
        out = np.zeros((len(names), len(self.sources)), dtype=np.float32)
        for place, source in enumerate(self.sources):
            own = [f"{source}: {name}" for name in OF_SOURCE]
            own += [f"{name}{more}" for name in _SPOKEN_FOR.get(source, ()) for more in ("", " x activity")]
            out[[names.index(name) for name in own], place] = 1
        return out

    def to_json(self) -> str:
        """The blend as JSON, weights by the names of their features."""
        names = feature_names(self.sources)
        return json.dumps(
            {
                "sources": self.sources,
                "weights": dict(zip(names, self.weights, strict=True)),
                "candidates": self.candidates,
                "chosen": self.chosen,
                "users": self.users,
                "judged": {name: quality._asdict() for name, quality in self.judged.items()},
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> Blend:
        """The blend that `to_json` wrote; raises ValueError where its features are not those of this version."""
        told: dict[str, Any] = json.loads(text)
        sources = tuple(told["sources"])
        names = feature_names(sources)
        if set(told["weights"]) != set(names):
            raise ValueError("a blend of other features; fit it again")
        return cls(
            sources,
            tuple(told["weights"][name] for name in names),
            told["candidates"],
            told["chosen"],
            told["users"],
            {name: Quality(**quality) for name, quality in told["judged"].items()},
        )


def feature_names(sources: Sequence[str]) -> list[str]:
    """What the features of a candidate are called, in order."""
    return [f"{source}: {name}" for source in sources for name in OF_SOURCE] + list(TRAITS)


def candidate_pairs(scores: Sequence[Floats], traits: Traits, users: Integers, items: Integers, kept: int) -> Pairs:
    """The best `kept` items of every source for each user, from `scores[source][user, item]`, and their features."""
    width = max(len(items), 1)
    shares = [normalised(block) for block in scores]
    places = []
    for share in shares:
        best, values = best_columns(share, kept)
        row, place = np.nonzero(values > 0)
        places.append((row * width + best[row, place], place))
    keys = np.unique(np.concatenate([key for key, _ in places]))
    rows, columns = keys // width, keys % width
    activity = traits.activity[users][rows]
    count = len(OF_SOURCE)
    features = np.zeros((len(keys), count * len(scores) + len(TRAITS)), dtype=np.float32)
    listed = np.zeros((len(keys), len(scores)), dtype=bool)
    for number, (share, (own, place)) in enumerate(zip(shares, places, strict=True)):
        at = np.searchsorted(keys, own)
        listed[at, number] = True
        block = features[:, count * number : count * (number + 1)]
        block[:, 0] = share[rows, columns]
        block[at, 1] = (1 + RANK_OFFSET) / (1 + place + RANK_OFFSET)
        block[:, 2] = listed[:, number]
        block[:, 3:] = block[:, :2] * activity[:, None]
    features[:, count * len(scores) :] = traits.features(users[rows], items[columns])
    return Pairs(rows, columns, features, listed)


def fit_blend(cuts: Sequence[Cut], settings: RecommendationSettings, seed: int) -> Blend | None:
    """The blend that foretells best what users of the `cuts` took; None where it cannot be told.

    Of the `settings.sources` those are used that every cut has the inputs for. Users with a list and something taken
    count, each cut by itself, all with one weight.
    """
    from threadpoolctl import threadpool_limits

    names = tuple(name for name in settings.sources if all(SOURCES[name].possible(cut.inputs) for cut in cuts))
    if not names or not cuts:
        return None
    lists = _Lists.of([_examples(cut, users, names) for cut, users in _drawn(cuts, seed)])
    people, person = np.unique(lists.people, return_inverse=True)
    if len(people) < LEAST_USERS or not lists.taken.any():
        return None
    # One thread: sums in another order would be other weights.
    with threadpool_limits(limits=1, user_api="blas"):
        return _best(lists, names, person, settings, seed)


def _best(
    lists: _Lists, names: tuple[SourceName, ...], person: Integers, settings: RecommendationSettings, seed: int
) -> Blend:
    """The best of the blends of sources `names`; `person[list]` numbers whose list it is."""
    people = int(person.max()) + 1
    fold = (np.random.default_rng(seed).permutation(people) % FOLDS)[person]
    width = len(feature_names(names))
    options: dict[str, Weights] = {name: np.eye(width)[len(OF_SOURCE) * place] for place, name in enumerate(names)}
    options[FIXED] = np.sum([options[name] * settings.weights.get(name, 0.0) for name in names], axis=0)
    utilities = {name: lists.features @ weights.astype(np.float32) for name, weights in options.items()}
    utilities[LEARNED] = np.zeros(len(lists.rows), dtype=np.float32)
    for number in range(FOLDS):
        held = fold == number
        weights = _fitted(lists, ~held)
        inside = held[lists.rows]
        utilities[LEARNED][inside] = lists.features[inside] @ weights.astype(np.float32)
    judged = {name: lists.quality(utility, settings.k) for name, utility in sorted(utilities.items())}
    chosen = max(judged, key=lambda name: (sum(judged[name]), name == LEARNED))
    if chosen == LEARNED:
        weights = _fitted(lists, np.ones(len(lists.relevant), dtype=bool))
    else:
        # Which order is known; how sure it is, one more number says, so that scores mean the same in every blend.
        weights = options[chosen] * _certainty(lists, utilities[chosen])
    return Blend(names, tuple(map(float, weights)), settings.candidates, chosen, people, judged)


class _Lists(NamedTuple):
    """Candidates of users, lists one after the other: `rows`, `features` and `taken` per candidate, sorted by row.

    `relevant` [list] counts what was taken, `people` [list] names whose list it is.
    """

    rows: Integers
    features: Floats
    taken: Flags
    relevant: Integers
    people: npt.NDArray[np.str_]

    @classmethod
    def of(cls, parts: Sequence[_Lists]) -> _Lists:
        before = np.cumsum([0, *(len(part.relevant) for part in parts)])
        rows = [part.rows + start for part, start in zip(parts, before, strict=False)]
        return cls(np.concatenate(rows), *(np.concatenate(column) for column in list(zip(*parts, strict=True))[1:]))

    def quality(self, utility: Floats, k: int) -> Quality:
        """Of lists cut to the `k` best by `utility`; of equals the earlier candidate."""
        order = np.lexsort((-utility, self.rows))
        rows = self.rows[order]
        place = np.arange(len(rows)) - np.searchsorted(rows, rows)
        hits = np.zeros((len(self.relevant), k), dtype=bool)
        shown = place < k
        hits[rows[shown], place[shown]] = self.taken[order[shown]]
        return Quality(float(recall_at_k(hits, self.relevant).mean()), float(ndcg_at_k(hits, self.relevant).mean()))


def _drawn(cuts: Sequence[Cut], seed: int) -> list[tuple[Cut, Integers]]:
    """The users of every cut who have a list and took something, MOST_USERS at most in all."""
    users = [cut.inputs.window.listed[cut.relevant[cut.inputs.window.listed] > 0] for cut in cuts]
    number = np.repeat(np.arange(len(cuts)), [len(part) for part in users])
    kept = np.random.default_rng(seed).permutation(len(number))[:MOST_USERS]
    drawn = np.zeros(len(number), dtype=bool)
    drawn[kept] = True
    return [(cut, part[drawn[number == place]]) for place, (cut, part) in enumerate(zip(cuts, users, strict=True))]


def _examples(cut: Cut, users: Integers, names: Sequence[SourceName]) -> _Lists:
    """The candidates of `users` as of the cut's day."""
    window, settings = cut.inputs.window, cut.inputs.settings
    allowed = np.flatnonzero(in_catalogue(window, settings.catalogue_days))
    scorers = [SOURCES[name].fit(cut.inputs)(window) for name in names]
    traits = Traits.of(window, window)
    excluded = excluded_pairs(window, settings)
    parts = []
    for block in blocks_of(users, len(allowed)):
        open_to = np.ones((len(block), len(allowed)), dtype=bool)
        open_to[places_of(excluded, block, allowed, window)] = False
        pairs = candidate_pairs(
            [scorer(block)[:, allowed] * open_to for scorer in scorers], traits, block, allowed, settings.candidates
        )
        taken = _at(cut.taken, block[pairs.rows], allowed[pairs.columns]) > 0
        people = np.array([window.sequences.users[user] for user in block], dtype=np.str_)
        parts.append(_Lists(pairs.rows, pairs.features, taken, cut.relevant[block], people))
    return _Lists.of(parts)


def _fitted(lists: _Lists, whose: Flags) -> Weights:
    """Weights of the least loss over the lists `whose`."""
    inside = whose[lists.rows]
    return _least_loss(lists.features[inside], lists.rows[inside], lists.taken[inside])


def _certainty(lists: _Lists, utility: Floats) -> float:
    """What `utility` is to be multiplied by for the least loss; 1 at least, for more of it was found to be better."""
    return max(float(_least_loss(utility[:, None], lists.rows, lists.taken)[0]), 1.0)


def _least_loss(features: Floats, rows: Integers, taken: Flags) -> Weights:
    """The weights [feature] of the least listwise softmax loss; lists without a taken candidate say nothing."""
    from scipy.optimize import minimize

    told = np.bincount(rows, taken)[rows] > 0
    features, taken = features[told], taken[told]
    row = np.unique(rows[told], return_inverse=True)[1]
    starts = np.searchsorted(row, np.arange(int(row[-1]) + 1)) if len(row) else np.zeros(0, dtype=np.int64)
    if not len(starts):
        return np.zeros(features.shape[1])
    target = (taken / np.bincount(row, taken)[row]).astype(np.float32)

    def loss(weights: Weights) -> tuple[float, Weights]:
        utility = features @ weights.astype(np.float32)
        top = np.maximum.reduceat(utility, starts)
        odds = np.exp(utility - top[row])
        total = np.add.reduceat(odds, starts)
        value = (np.log(total) + top).sum(dtype=np.float64) - (target * utility).sum(dtype=np.float64)
        slope = ((odds / total[row] - target) @ features).astype(np.float64)
        return (
            value / len(starts) + PENALTY * float(weights @ weights),
            slope / len(starts) + 2 * PENALTY * weights,
        )

    found = minimize(loss, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return np.asarray(found.x, dtype=np.float64)
