"""Laws of the settings' documentation: every key says what it means, counts and allows, and the page is current."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

from shift_assets.settings.reference import Setting, all_settings, page, range_of, unit_of

NUMBERS = {int, float}


@pytest.mark.parametrize("setting", all_settings(), ids=lambda setting: setting.key)
def test_every_setting_has_a_sentence_a_unit_and_a_range(setting: Setting) -> None:
    """A number has a unit and bounds; a word has a list of words, a path or an address none."""
    sentence = setting.field.description or ""
    assert sentence.endswith(".")
    assert sentence[0].isupper() or sentence[0] in "`q"
    if NUMBERS & types_in(setting.field.annotation):
        assert unit_of(setting.field)
    if setting.field.annotation in {int, float, float | None}:
        assert range_of(setting.field)


def types_in(annotation: Any) -> set[Any]:
    """The annotation and whatever it is made of."""
    return (
        {annotation} if get_origin(annotation) is Literal else {annotation}.union(*map(types_in, get_args(annotation)))
    )


def test_there_are_fewer_than_120_settings() -> None:
    """What no operator would set is a constant next to its code."""
    assert len(list(all_settings())) < 120


def test_the_committed_page_is_current() -> None:
    stored = (Path(__file__).parents[2] / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    assert stored == page(), "run: python -m shift_assets.settings.reference > docs/reference/settings.md"
