"""Candidate generators, the blend that ranks what they propose, and the pipeline that makes a day's recommendations.

How one slate comes about:

1. `context.RecommendationContext` holds the facts of the day: events, alerts, and what the weekly fits gave.
2. `window.Window` packs the histories of the look-back days and names the users to serve.
3. `candidates.registry.fit_generators` fits every usable candidate generator on that window.
4. `ranking.ranker.BlendedRanker.score(users)` blends their scores, weighted towards a shifted user's newest events.
5. `slates.make_slates` boosts rising categories, re-ranks, truncates to k and explores the last ranks: `slates.Slates`.
"""
