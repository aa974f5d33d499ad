"""Tokenise item texts into terms that name the kind of item.

Colours, sizes, counts and packaging cut across all categories of a shop; if they were kept, they would become
categories of their own (on a UK gift shop's log `pink` and `set` were the largest).
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

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
_WORD = re.compile(r"[^\W\d_]+")
_HAN = re.compile(r"[\u3400-\u9fff]+")
_MARKS = re.compile(r"['’\u0300-\u036f]")
_SIBILANT_PLURAL = re.compile(r"\w+(ss|sh|ch|x)es")
MINIMUM_LETTERS = 3


@cache
def _stop_words() -> frozenset[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return frozenset(ENGLISH_STOP_WORDS) | frozenset(f"{_COLOURS} {_SIZES} {_STYLES}".split())


def words(text: str) -> list[str]:
    """Return the words of a text in order: in lower case, without accents and stop words.

    A run of Chinese characters, which has no spaces, gives its overlapping pairs.

    >>> words("SET/6 RED SPOTTY PAPER CUPS")
    ['spotty', 'paper', 'cups']
    """
    stop_words = _stop_words()
    plain = _MARKS.sub("", unicodedata.normalize("NFKD", text.lower()))
    kept: list[str] = []
    for run in _WORD.findall(plain):
        if _HAN.match(run):
            kept += [run[start : start + 2] for start in range(max(len(run) - 1, 1))]
        elif len(run) >= MINIMUM_LETTERS and run not in stop_words and term(run) not in stop_words:
            kept.append(run)
    return kept


def term(word: str) -> str:
    """Return a word without its English plural ending.

    >>> term("candles"), term("glass")
    ('candle', 'glass')
    """
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if _SIBILANT_PLURAL.fullmatch(word):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is", "as")):
        return word[:-1]
    return word


def terms(text: str) -> list[str]:
    """Return the terms of a text, the last one twice: English product names end in what the thing is.

    >>> terms("metal signs")
    ['metal', 'sign', 'sign']
    """
    terms_of_text = [term(word) for word in words(text)]
    return terms_of_text + terms_of_text[-1:]
