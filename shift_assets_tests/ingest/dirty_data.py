"""Dirty data as shops really deliver it. Generators of bad lines and files, for every test that needs them.

`BAD_LINES` names each kind of bad JSON line once, with the reason that must be given. `json_line_files` and
`csv_files` are hypothesis strategies of whole files. `dirty_landing` makes a landing folder from a seed.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import zstandard
from hypothesis import strategies as st

from shift_assets.ingest.readers.source_files import SourceFile
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets.ingest.source.config import Source
from shift_assets.ingest.source.shipped import load_source

DAY = date(2026, 3, 29)
"""In Europe/London this day's clocks jump from 01:00 to 02:00."""
NOON = int(datetime(2026, 3, 29, 12, tzinfo=UTC).timestamp())
KEY = b"0123456789abcdef0123456789abcdef"

JSON_SOURCE = """\
source: json_shop
timezone: Europe/London
events:
  format: jsonl
  map: {user_id: user, item_id: item, behavior: action, event_ts: t, price: price, quantity: n, text: title}
  timestamp: {unit: s}
  behaviors: {pv: view, buy: purchase, back: return}
  reject: {bad_value: "price < 0"}
segments: {by: hash, shards: 3}
"""

CSV_SOURCE = """\
source: csv_shop
timezone: Europe/London
events:
  format: csv
  csv: {delimiter: ",", header: false, columns: [user, item, action, t, title]}
  map: {user_id: user, item_id: item, behavior: action, event_ts: t, text: title}
  timestamp: {unit: s}
  behaviors: {pv: view, buy: purchase}
segments: {by: hash, shards: 3}
"""


def source_of(folder: Path, text: str) -> Source:
    """The source that `text` describes, by way of a real file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "source.yaml"
    path.write_text(text, encoding="utf-8")
    return load_source(path)


def context_of(landing: Path, source: Source, lateness_days: int = 3) -> ParseContext:
    return ParseContext(source=source, key=KEY, lateness_days=lateness_days, landing=landing)


def deliver(landing: Path, name: str, content: bytes, day: date = DAY) -> SourceFile:
    """Put a file into the event folder of `day`."""
    folder = landing / "events" / f"day={day.isoformat()}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return SourceFile(f"events/{folder.name}/{name}", day, len(content))


def good_line(**changes: Any) -> bytes:
    """One valid event of JSON_SOURCE, with values replaced; a value of None removes its key."""
    event = {"user": "ann", "item": "i1", "action": "pv", "t": NOON} | changes
    return json.dumps({key: value for key, value in event.items() if value is not None}, ensure_ascii=False).encode()


def _with_raw(key: str, raw: bytes) -> bytes:
    """A valid event with one value written as `raw`."""
    return good_line(**{key: "@@"}).replace(b'"@@"', raw)


_GOOD = good_line()
BAD_LINES: dict[str, tuple[bytes, str | None]] = {
    "two objects": (_GOOD + _GOOD, "malformed"),
    "two objects apart": (_GOOD + b" " + _GOOD, "malformed"),
    "array": (b"[" + _GOOD + b"]", "malformed"),
    "number": (b"123", "malformed"),
    "null": (b"null", "malformed"),
    "text": (b'"text"', "malformed"),
    "plain words": (b"not json at all", "malformed"),
    "cut": (_GOOD[:-5], "malformed"),
    "trailing garbage": (_GOOD + b"x", "malformed"),
    "trailing comma": (_GOOD[:-1] + b",}", "malformed"),
    "single quotes": (_GOOD.replace(b'"', b"'"), "malformed"),
    "no colon": (b'{"user" "ann"}', "malformed"),
    "empty value": (_with_raw("price", b""), "malformed"),
    "two values": (_with_raw("price", b'"a" "b"'), "malformed"),
    "text and number": (_with_raw("price", b'"a"1'), "malformed"),
    "duplicate key": (_GOOD[:-1] + b', "user": "bob"}', "malformed"),
    "duplicate unmapped key": (_GOOD[:-1] + b', "x": 1, "x": 2}', "malformed"),
    "duplicate inner key": (_GOOD[:-1] + b', "x": {"y": 1, "y": 2}}', "malformed"),
    "NaN": (_with_raw("price", b"NaN"), "malformed"),
    "Infinity": (_with_raw("price", b"Infinity"), "malformed"),
    "minus Infinity": (_with_raw("price", b"-Infinity"), "malformed"),
    "beyond doubles": (_with_raw("price", b"1e400"), "malformed"),
    "beyond doubles, unmapped": (_GOOD[:-1] + b', "x": -1e999}', "malformed"),
    "leading zero": (_with_raw("price", b"01"), "malformed"),
    "plus sign": (_with_raw("price", b"+1"), "malformed"),
    "bare point": (_with_raw("price", b".5"), "malformed"),
    "capital True": (_with_raw("price", b"True"), "malformed"),
    "hexadecimal": (_with_raw("price", b"0x1F"), "malformed"),
    "half a surrogate": (_with_raw("title", b'"\\ud800"'), "malformed"),
    "escaped NUL": (_with_raw("title", b'"a\\u0000b"'), "malformed"),
    "raw NUL": (_with_raw("title", b'"a\0b"'), "malformed"),
    "raw tab": (_with_raw("title", b'"a\tb"'), "malformed"),
    "bad escape": (_with_raw("title", b'"\\x"'), "malformed"),
    "invalid UTF-8": (_with_raw("title", b'"\xff\xfe"'), "malformed"),
    "latin-1": (_with_raw("title", "läufer".encode("latin-1").join([b'"', b'"'])), "malformed"),
    "UTF-8 surrogate": (_with_raw("title", b'"\xed\xa0\x80"'), "malformed"),
    "byte order mark inside": (b"\xef\xbb\xbf" + _GOOD, "malformed"),
    "deep nesting": (_with_raw("title", b"[" * 100_000), "malformed"),
    "no user": (good_line(user=None), "missing_user"),
    "null user": (_with_raw("user", b"null"), "missing_user"),
    "empty user": (good_line(user=""), "missing_user"),
    "blank user": (good_line(user=" \u2003 "), "missing_user"),
    "no item": (good_line(item=None), "missing_item"),
    "boolean user": (good_line(user=True), "bad_value"),
    "list user": (good_line(user=["ann"]), "bad_value"),
    "object item": (good_line(item={"id": 1}), "bad_value"),
    "fraction user": (good_line(user=1.5), "bad_value"),
    "exponent user": (_with_raw("user", b"1e3"), "bad_value"),
    "control in user": (_with_raw("user", b'"a\\nb"'), "bad_value"),
    "long item": (good_line(item="i" * 1025), "too_long"),
    "unknown behavior": (good_line(action="stare"), "unknown_behavior"),
    "contract name not delivered": (good_line(action="view"), "unknown_behavior"),
    "no behavior": (good_line(action=None), "unknown_behavior"),
    "no time": (good_line(t=None), "bad_timestamp"),
    "milliseconds": (good_line(t=NOON * 1000), "bad_timestamp"),
    "microseconds": (good_line(t=NOON * 10**6), "bad_timestamp"),
    "beyond 64 bits": (good_line(t=10**30), "bad_timestamp"),
    "words as time": (good_line(t="noon"), "bad_timestamp"),
    "boolean time": (good_line(t=True), "bad_timestamp"),
    "zero time": (good_line(t=0), "bad_timestamp"),
    "tomorrow": (good_line(t=NOON + 86_400), "wrong_day"),
    "four days ago": (good_line(t=NOON - 4 * 86_400), "wrong_day"),
    "words as price": (good_line(price="cheap"), "bad_value"),
    "boolean quantity": (good_line(n=True), "bad_value"),
    "list price": (good_line(price=[1]), "bad_value"),
    "text NaN": (good_line(price="NaN"), "bad_value"),
    "text beyond doubles": (good_line(price="1e400"), "bad_value"),
    "rule": (good_line(price=-0.01), "bad_value"),
    "too long": (good_line(title="x" * (1024 * 1024)), "too_long"),
    "good": (_GOOD, None),
    "good, three days ago": (good_line(t=NOON - 3 * 86_400), None),
    "good, spaces": (b"  " + _GOOD.replace(b": ", b"  :  ") + b"\t ", None),
    "good, compact": (_GOOD.replace(b" ", b""), None),
    "good, escapes": (_with_raw("title", b'"\\u00e9 \\"quoted\\" \\ud83d\\ude00"'), None),
    "good, unicode": (good_line(title="läufer 玩具 😀 \u2028"), None),
    "good, braces in text": (good_line(title="{a: [1], b}"), None),
    "good, nested": (_GOOD[:-1] + b', "x": {"y": [1, {"z": null}]}}', None),
    "good, other order": (good_line(user=None)[:-1] + b', "user": "ann"}', None),
    "good, huge number user": (good_line(user=2**70), None),
    "good, integral float user": (_with_raw("user", b"16321.0"), None),
    "good, negative user": (good_line(user=-5), None),
    "good, time as text": (good_line(t=str(NOON)), None),
    "good, fraction of a second": (good_line(t=NOON + 0.25), None),
    "good, price as text": (good_line(price=" 12.50 ".strip()), None),
    "good, null price": (_with_raw("price", b"null"), None),
    "good, empty price": (good_line(price=""), None),
    "good, exponent price": (_with_raw("price", b"1.5e1"), None),
}
"""Name: (line, the reason it must be rejected for; None: accepted). For JSON_SOURCE in the folder of DAY."""

NASTY_IDS = (
    "用户😀",
    "\u202eabc",
    "e\u0301",
    "é",
    "'; drop table x; --",
    "../../etc",
    " a",
    "a,b",
    "%s",
    "{}",
    "0",
    "-1",
    "NULL",
)

_values = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=8),
    st.sampled_from(NASTY_IDS),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)
_events = st.fixed_dictionaries(
    {
        "user": st.one_of(st.sampled_from(["ann", "bob", 7]), _values),
        "item": st.one_of(st.sampled_from(["i1", "i2", 12]), _values),
        "action": st.one_of(st.sampled_from(["pv", "buy", "back"]), _values),
        "t": st.one_of(st.integers(NOON - 4 * 86_400, NOON + 86_400), _values),
    },
    optional={"price": _values, "n": _values, "title": _values, "other": _values},
)


@st.composite
def _json_lines(draw: st.DrawFn) -> bytes:
    """An event, most often plain, sometimes written oddly or damaged."""
    event = draw(_events)
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" , ", "  : ")]))
    line = json.dumps(event, ensure_ascii=draw(st.booleans()), separators=separators).encode()
    damage = draw(st.integers(0, 9))
    if damage == 0:
        at = draw(st.integers(0, len(line)))
        line = line[:at] + draw(st.binary(max_size=3)).replace(b"\n", b"") + line[at:]
    elif damage == 1:
        line = line[: draw(st.integers(0, len(line)))]
    return line


_bad_lines = st.sampled_from([line for line, _ in BAD_LINES.values() if len(line) < 10_000])
_blank = st.sampled_from([b"", b" ", b"\t \r", b"\x0b"])
_line_ends = st.sampled_from([b"\n", b"\r\n"])


@st.composite
def json_line_files(draw: st.DrawFn) -> bytes:
    """A whole file of JSON lines, good and bad, with blank lines, either line end, with or without a last one."""
    lines = draw(st.lists(st.one_of(_json_lines(), _json_lines(), _bad_lines, _blank), max_size=12))
    end = draw(_line_ends)
    mark = draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf"]))
    return mark + end.join(lines) + draw(st.sampled_from([b"", end]))


_fields = st.one_of(
    st.sampled_from(["ann", "i1", "pv", "buy", str(NOON), "", " ", '"quoted, text"', '"two\nlines"', '"a ""b"" c"']),
    st.sampled_from(['"open', 'in"side', '"closed"x', "\0", "\ufeff", "läufer", "\r", '""', '"']),
    st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=4),
)


@st.composite
def csv_files(draw: st.DrawFn) -> bytes:
    """A whole file of CSV_SOURCE: five fields, sometimes more or fewer, quotes that close or not, broken text."""
    good = st.sampled_from([f"ann,i1,pv,{NOON},", f"bob,i2,buy,{NOON},text", f'7,i3,pv,{NOON},"a, b"'])
    dirty = st.lists(_fields, min_size=4, max_size=6).map(",".join)
    texts: list[str] = draw(st.lists(st.one_of(good, dirty, st.just("")), max_size=12))
    records = [text.encode() for text in texts]
    if len(records) > 0 and draw(st.booleans()):
        at = draw(st.integers(0, len(records) - 1))
        records[at] += draw(st.binary(max_size=3))
    end = draw(_line_ends)
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + end.join(records) + draw(st.sampled_from([b"", end]))


def dirty_landing(landing: Path, seed: int, days: Sequence[date], lines_per_file: int = 60) -> list[SourceFile]:
    """Fill `landing` with dirty JSON files of JSON_SOURCE for `days`: the same seed gives the same bytes.

    There are plain, gzip and zstd files, late events, events delivered twice in one file and in two, every bad
    line, a truncated gzip, an empty file, and names that are not deliveries.
    """
    rng = random.Random(seed)  # noqa: S311
    delivered = []
    earlier: list[bytes] = []
    bad = [line for line, _ in BAD_LINES.values() if len(line) < 10_000]
    for day in days:
        noon = int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp())
        for number, pack in enumerate((_plain, _gzipped, _zstd)):
            lines = [_random_line(rng, noon) for _ in range(lines_per_file)]
            lines += rng.sample(bad, 8) + rng.choices(lines, k=5) + rng.choices(earlier or lines, k=5)
            rng.shuffle(lines)
            earlier = lines
            delivered.append(deliver(landing, f"part-{number}.jsonl", pack(b"\n".join(lines) + b"\n"), day))
        damaged = _gzipped(b"\n".join(earlier))
        delivered.append(deliver(landing, "cut.jsonl.gz", damaged[: rng.randrange(12, len(damaged) - 1)], day))
        delivered.append(deliver(landing, "empty.jsonl", b"", day))
        deliver(landing, "_unfinished.jsonl", b"\n".join(earlier), day)
        deliver(landing, "writing.tmp", b"\n".join(earlier), day)
    return delivered


def _random_line(rng: random.Random, noon: int) -> bytes:
    late = rng.choice([0, 0, 0, 0, 1, 2, 3, 4])
    event = {
        "user": rng.choice([f"u{rng.randrange(8)}", rng.choice(NASTY_IDS), rng.randrange(5)]),
        "item": f"i{rng.randrange(10)}",
        "action": rng.choice(["pv", "pv", "buy", "back"]),
        "t": noon - late * 86_400 + rng.randrange(-3600, 3600),
        "price": rng.choice([1, 2.5, "3.75", None]),
        "n": rng.choice([1, 2, None]),
        "title": rng.choice(["läufer", 'a "b"', None]),
    }
    return json.dumps(event, ensure_ascii=rng.random() < 0.5).encode()


def days_before(day: date, count: int) -> list[date]:
    """`count` days up to and including `day`, in order."""
    return [day - timedelta(days=back) for back in range(count - 1, -1, -1)]


def _plain(content: bytes) -> bytes:
    return content


def _gzipped(content: bytes) -> bytes:
    half = len(content) // 2
    return gzip.compress(content[:half], mtime=0) + gzip.compress(content[half:], mtime=0)


def _zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)
