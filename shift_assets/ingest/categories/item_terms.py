"""What an item's text says about its kind: terms, without what every kind of item comes in.

Colours, sizes, counts and packaging cut across all categories of a shop; left in, they become categories of their
own (on a UK gift shop's log `pink` and `set` were the largest).
"""

from __future__ import annotations

import re
import unicodedata

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

_COLOURS = """
    red orange yellow green blue purple violet pink brown black white grey gray silver gold golden copper bronze beige
    ivory cream turquoise aqua navy lilac mauve teal magenta multicolour multicolor multi colour color coloured colored
    pastel clear dark bright
"""
_SIZES = """
    small medium large mini big little tiny jumbo giant long short tall wide slim xl xxl size sized oversized inch
    inches metre meter litre liter gram pc pcs piece pack packed packs set sets pair box boxed dozen double single
    triple one two three four five six seven eight nine ten twelve assorted asstd asst ass sml lge
"""
_STYLES = """
    design designs style shape shaped new pattern print printed round square oval vintage retro classic antique
    traditional modern deluxe quality special edition free
"""
STOP_WORDS = frozenset(ENGLISH_STOP_WORDS) | frozenset(f"{_COLOURS} {_SIZES} {_STYLES}".split())

_WORD = re.compile(r"[^\W\d_]+")
_HAN = re.compile(r"[\u3400-\u9fff]+")
_MARKS = re.compile(r"['’\u0300-\u036f]")
_SIBILANT_PLURAL = re.compile(r"\w+(ss|sh|ch|x)es")
MINIMUM_LETTERS = 3


def words(text: str) -> list[str]:
    """The words of `text` that tell its kind, in order: lower case, accents and stop words removed.

    A run of Chinese characters gives its overlapping pairs, for it has no spaces.
    """
    plain = _MARKS.sub("", unicodedata.normalize("NFKD", text.lower()))
    found: list[str] = []
    for run in _WORD.findall(plain):
        if _HAN.match(run):
            found += [run[start : start + 2] for start in range(max(len(run) - 1, 1))]
        elif len(run) >= MINIMUM_LETTERS and run not in STOP_WORDS and term(run) not in STOP_WORDS:
            found.append(run)
    return found


def term(word: str) -> str:
    """`word` with the English plural taken off: `candles` and `candle` are one term."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if _SIBILANT_PLURAL.fullmatch(word):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is", "as")):
        return word[:-1]
    return word


def terms(text: str) -> list[str]:
    """The terms of `text`, the last one twice: English names end in what the thing is."""
    found = [term(word) for word in words(text)]
    return found + found[-1:]
