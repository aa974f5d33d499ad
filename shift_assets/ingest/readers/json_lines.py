"""Read JSON lines strictly: one object per line, every value exactly as it is written.

Two parsers give the same rows. The strict one reads a line with the standard library, which hands numbers over as
text and shows repeated keys. The fast one finds the structure of thousands of flat lines at once by array operations
over their bytes, and leaves every unusual line (nesting, escapes, odd numbers, broken text, rare key layouts) to the
strict one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int32, Int64, UInt8, UInt64

from shift_assets.arrays import BoolArray, Int32Array, Int64Array, UInt8Array, UInt64Array
from shift_assets.ingest.readers.byte_arrays import bytes_of, slices
from shift_assets.ingest.readers.lines import LongLine, line_blocks, long_line_row, row_lines
from shift_assets.ingest.readers.row_batch import Kind, Rejection, RowBatch

MAXIMUM_LAYOUTS = 8
"""Distinct key orders that are read fast in one block; lines with rarer ones are read one by one."""

MAXIMUM_SPACES = 4
"""Spaces on either side of a value that the fast parser skips."""

_QUOTE, _COLON, _COMMA, _OPEN, _CLOSE, _SPACE, _BACKSLASH = (ord(c) for c in '":,{} \\')
_STRUCTURE = bytes(chr(code) in '":,{}[]' for code in range(256))
"""Translation table: 1 for each structural byte."""
_LITERAL = r"^(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?|true|false|null)$"
"""Values without quotes that the fast parser reads; exponents, which may overflow, are left to the strict one."""
_FAST_NUMBER_LENGTH = 300
"""Shorter decimals without exponent are finite doubles."""


def read_json_lines(chunks: Iterable[bytes], requested: tuple[str, ...], *, fast: bool = True) -> Iterator[RowBatch]:
    """Yield the rows of a JSON-lines file, with the values of the `requested` keys."""
    for block in line_blocks(chunks):
        if isinstance(block, LongLine):
            yield long_line_row(block, requested)
            continue
        numbers, raw = row_lines(block)
        if len(numbers):
            yield _read_block(numbers, raw, requested) if fast else _read_strictly(numbers, raw, requested)


def _read_block(numbers: Int64Array, raw: pa.Array, requested: tuple[str, ...]) -> RowBatch:
    """Read plain lines by layout and all others strictly, and restore the order of lines."""
    parts: list[tuple[Int64Array, RowBatch]] = []
    left = np.ones(len(raw), dtype=bool)
    plain = _plain_lines(raw)
    if plain.any():
        where = np.flatnonzero(plain)
        lines = raw if len(where) == len(raw) else raw.filter(pa.array(plain))
        for chosen, columns, kinds in _Tokens.from_lines(lines).layouts(requested):
            index = where[chosen]
            left[index] = False
            parts.append((index, RowBatch(numbers[index], pa.nulls(0), columns, kinds)))
    rest = np.flatnonzero(left)
    if len(rest):
        parts.append((rest, _read_strictly(numbers[rest], raw.take(pa.array(rest)), requested)))
    if len(parts) == 1:
        rows = parts[0][1]
        return RowBatch(numbers, raw, rows.columns, rows.kinds, rows.rejections)
    order = np.argsort(np.concatenate([index for index, _ in parts]), kind="stable")
    rejections = {int(index[row]): rejection for index, rows in parts for row, rejection in rows.rejections.items()}
    columns = {
        name: pa.concat_arrays([rows.columns[name] for _, rows in parts]).take(pa.array(order)) for name in requested
    }
    kinds = {name: np.concatenate([rows.kinds[name] for _, rows in parts])[order] for name in requested}
    return RowBatch(numbers, raw, columns, kinds, rejections)


def _plain_lines(raw: pa.Array) -> BoolArray:
    """Return which lines are valid UTF-8 without control byte or backslash, from `{` to `}`."""
    data, codes, offsets = bytes_of(raw)
    plain: BoolArray = (codes[offsets[:-1]] == _OPEN) & (codes[offsets[1:] - 1] == _CLOSE)
    text = memoryview(data)[offsets[0] : offsets[-1]]
    if codes[offsets[0] :].min(initial=_SPACE) < _SPACE or b"\\" in bytes(text):
        odd = np.flatnonzero((codes < _SPACE) | (codes == _BACKSLASH))
        plain[np.searchsorted(offsets, odd[odd >= offsets[0]], side="right") - 1] = False
    try:
        str(text, "utf-8")
    except UnicodeDecodeError:
        beyond = np.flatnonzero(codes[offsets[0] :] >= 128) + offsets[0]
        plain[np.searchsorted(offsets, beyond, side="right") - 1] = False
    return plain


@dataclass(slots=True)
class _Tokens:
    """Structural characters of plain lines: those outside of strings.

    Attributes:
        data: The bytes of all lines.
        codes: The same bytes as an array.
        words: The eight bytes from each position on, the first one lowest.
        at: Position of each token.
        code: Character of each token.
        quotes: Quotes before each token in the block.
        first: Index of each line's first token, with one more entry at the end.
        usable: Whether the quotes of each line pair up.
    """

    data: pa.Buffer
    codes: UInt8[UInt8Array, " byte"]
    words: UInt64[UInt64Array, " position"]
    at: Int64[Int64Array, " token"]
    code: UInt8[UInt8Array, " token"]
    quotes: Int32[Int32Array, " token"]
    first: Int64[Int64Array, " line_bounds"]
    usable: Bool[BoolArray, " line"]

    @classmethod
    def from_lines(cls, lines: pa.Array) -> _Tokens:
        data, codes, offsets = bytes_of(lines)
        structural = bytes(memoryview(data)[: len(codes)]).translate(_STRUCTURE)
        at = np.flatnonzero(np.frombuffer(structural, dtype=bool))
        code = codes[at]
        is_quote = code == _QUOTE
        quotes = np.cumsum(is_quote, dtype=np.int32)
        line_first = np.searchsorted(at, offsets)
        before = np.concatenate([[0], quotes])[line_first]
        usable = (before[1:] - before[:-1]) % 2 == 0
        parity = quotes if usable.all() else quotes - np.repeat(before[:-1], np.diff(line_first)).astype(np.int32)
        outside = np.flatnonzero(~is_quote & (parity & 1 == 0))
        first = np.searchsorted(outside, line_first)
        padded = np.concatenate([codes, np.zeros(8, dtype=np.uint8)])
        words = np.ndarray((len(codes) + 1,), dtype="<u8", buffer=padded, strides=(1,))
        return cls(data, codes, words, at[outside], code[outside], quotes[outside], first, usable)

    def layouts(
        self, requested: tuple[str, ...]
    ) -> Iterator[tuple[Int64Array, dict[str, pa.Array], dict[str, UInt8Array]]]:
        """Yield groups of lines that share one order of keys, with their values; other lines are left out."""
        counts = np.diff(self.first)
        remaining_lines = np.flatnonzero(self.usable & (counts >= 3) & (counts % 2 == 1))
        for _ in range(MAXIMUM_LAYOUTS):
            if not len(remaining_lines):
                return
            count = int(counts[remaining_lines[0]])
            same = remaining_lines[counts[remaining_lines] == count]
            tokens = self.first[same][:, None] + np.arange(count)
            pattern = np.array([_OPEN, *([_COLON, _COMMA] * (count // 2))[:-1], _CLOSE], dtype=np.uint8)
            fits = (self.code[tokens] == pattern).all(axis=1)
            keys = self._keys(tokens[0]) if fits[0] else None
            if keys is None:
                remaining_lines = remaining_lines[1:]
                continue
            for position in range(count // 2):
                fits &= self._equal_first_line(tokens[:, 2 * position], tokens[:, 2 * position + 1])
            columns, kinds, valid = self._values(tokens[fits], keys, requested)
            lines = same[fits]
            if valid.all():
                yield lines, columns, kinds
            elif valid.any():
                valid_mask = pa.array(valid)
                yield (
                    lines[valid],
                    {name: column.filter(valid_mask) for name, column in columns.items()},
                    {name: kind[valid] for name, kind in kinds.items()},
                )
            remaining_lines = np.setdiff1d(remaining_lines, lines, assume_unique=True)

    def _keys(self, tokens: Int64Array) -> list[str] | None:
        """Return the keys of one line, or None if they are not distinct plain strings."""
        keys = []
        for opening, colon in zip(tokens[0:-1:2], tokens[1::2], strict=True):
            text = bytes(self.codes[self.at[opening] + 1 : self.at[colon]]).strip(b" ")
            if self.quotes[colon] - self.quotes[opening] != 2 or text[:1] != b'"' or text[-1:] != b'"':
                return None
            keys.append(text[1:-1].decode())
        return keys if len(set(keys)) == len(keys) else None

    def _equal_first_line(self, opening: Int64Array, colon: Int64Array) -> BoolArray:
        """Return which lines have the first line's bytes between two tokens, compared eight at a time."""
        starts = self.at[opening] + 1
        lengths = self.at[colon] - starts
        length = int(lengths[0])
        same: BoolArray = lengths == length
        for done in range(0, length, 8):
            # A shorter last line may end before `done`; its length already distinguishes it.
            words = self.words[np.minimum(starts + done, len(self.words) - 1)]
            unused = 8 * max(0, 8 - (length - done))
            same &= ((words ^ words[0]) << np.uint64(unused)) == 0
        return same

    def _values(
        self, tokens: Int64Array, keys: list[str], requested: tuple[str, ...]
    ) -> tuple[dict[str, pa.Array], dict[str, UInt8Array], BoolArray]:
        """Return texts and kinds of the requested keys, and which lines have only plain values."""
        columns: dict[str, pa.Array] = {}
        kinds: dict[str, UInt8Array] = {}
        valid = np.ones(len(tokens), dtype=bool)
        for position, key in enumerate(keys):
            colon, after = tokens[:, 2 * position + 1], tokens[:, 2 * position + 2]
            starts, ends = self._trimmed(self.at[colon] + 1, self.at[after])
            quotes = self.quotes[after] - self.quotes[colon]
            quoted = (self.codes[starts] == _QUOTE) & (self.codes[ends - 1] == _QUOTE) & (quotes == 2) & (ends > starts)
            bare = (quotes == 0) & (ends > starts)
            valid &= quoted | bare
            inner_starts, inner_ends = starts + quoted, ends - quoted
            inner_ends = np.maximum(inner_ends, inner_starts)
            if key not in requested and not bare.any():
                continue
            texts = slices(self.data, inner_starts, inner_ends, pa.string())
            kind = np.where(quoted, Kind.TEXT, Kind.NUMBER).astype(np.uint8)
            if bare.any():
                texts, kind, literal = _bare_values(texts, kind, bare, self.codes[starts])
                valid &= literal
            if key in requested:
                columns[key], kinds[key] = texts, kind
        for name in requested:
            if name not in columns:
                columns[name] = pa.nulls(len(tokens), pa.string())
                kinds[name] = np.zeros(len(tokens), dtype=np.uint8)
        return columns, kinds, valid

    def _trimmed(self, starts: Int64Array, ends: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Return the bounds of values without the spaces around them; an all-space value becomes empty."""
        for _ in range(MAXIMUM_SPACES):
            leading = (self.codes[starts] == _SPACE) & (starts < ends)
            trailing = (self.codes[ends - 1] == _SPACE) & (starts < ends - 1)
            if not (leading.any() or trailing.any()):
                break
            starts, ends = starts + leading, ends - trailing
        return starts, ends


def _bare_values(
    texts: pa.Array, kind: UInt8Array, bare: BoolArray, first: UInt8Array
) -> tuple[pa.Array, UInt8Array, BoolArray]:
    """Type the values without quotes: return texts (null for `null`), kinds, and which are JSON literals."""
    digits = pc.ascii_is_decimal(texts).to_numpy(zero_copy_only=False)
    simple = digits & ((first != ord("0")) | (pc.binary_length(texts).to_numpy() == 1))
    literal = simple | ~bare
    doubtful = np.flatnonzero(~literal)
    if len(doubtful):
        literal[doubtful] = pc.match_substring_regex(texts.take(pa.array(doubtful)), _LITERAL).to_numpy(
            zero_copy_only=False
        )
    literal &= ~bare | (pc.binary_length(texts).to_numpy() <= _FAST_NUMBER_LENGTH)
    kind[bare & ((first == ord("t")) | (first == ord("f")))] = Kind.BOOLEAN
    is_null = bare & (first == ord("n"))
    if is_null.any():
        kind[is_null] = Kind.NULL
        texts = pc.if_else(pa.array(is_null), pa.scalar(None, pa.string()), texts)
    return texts, kind, literal


class _NumberText(str):
    """A JSON number, as written."""

    __slots__ = ()


class _MalformedLineError(ValueError):
    pass


def _read_strictly(numbers: Int64Array, raw: pa.Array, requested: tuple[str, ...]) -> RowBatch:
    values: list[dict[str, Any]] = []
    rejections: dict[int, Rejection] = {}
    for index, line in enumerate(raw.to_pylist()):
        try:
            values.append(parse_object(line))
        except _MalformedLineError as error:
            rejections[index] = Rejection("malformed", str(error))
            values.append({})
    columns, kinds = {}, {}
    for name in requested:
        pairs = [_text_and_kind(value.get(name)) for value in values]
        columns[name] = pa.array([text for text, _ in pairs], pa.string())
        kinds[name] = np.array([kind for _, kind in pairs], dtype=np.uint8)
    return RowBatch(numbers, raw, columns, kinds, rejections)


def parse_object(line: bytes) -> dict[str, Any]:
    """Return the JSON object of a line, with numbers as text.

    Raises:
        ValueError: It is not one valid object; the message says what is wrong without repeating the content.
    """
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _MalformedLineError(f"not UTF-8 at byte {error.start + 1}") from None
    try:
        value = json.loads(
            text,
            object_pairs_hook=_distinct_keys,
            parse_float=_finite_number,
            parse_int=_NumberText,
            parse_constant=_reject_constant,
        )
    except json.JSONDecodeError as error:
        raise _MalformedLineError(f"not one JSON object: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise _MalformedLineError("nested too deeply") from None
    if not isinstance(value, dict):
        raise _MalformedLineError("not a JSON object")
    if "\\u" in text:
        _check_escapes(value)
    return value


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _MalformedLineError("an object names a key twice")
    return value


def _finite_number(text: str) -> _NumberText:
    if not math.isfinite(float(text)):
        raise _MalformedLineError("a number beyond the range of doubles")
    return _NumberText(text)


def _reject_constant(name: str) -> NoReturn:
    raise _MalformedLineError(f"{name.lstrip('-')} is not JSON")


def _check_escapes(value: Any) -> None:
    """Refuse what only escapes can produce: half a surrogate pair, and NUL."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_escapes(key)
            _check_escapes(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_escapes(inner)
    elif isinstance(value, str):
        if "\0" in value:
            raise _MalformedLineError("a NUL character")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _MalformedLineError("half a surrogate pair") from None


def _text_and_kind(value: Any) -> tuple[str | None, Kind]:
    if value is None:
        return None, Kind.NULL
    if isinstance(value, _NumberText):
        return str(value), Kind.NUMBER
    if isinstance(value, str):
        return value, Kind.TEXT
    if isinstance(value, bool):
        return ("true" if value else "false"), Kind.BOOLEAN
    return _compact(value), Kind.CONTAINER


def _compact(value: Any) -> str:
    """Return a value as compact JSON, numbers as they are written."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_compact(key)}:{_compact(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_compact(inner) for inner in value) + "]"
    return str(value) if isinstance(value, _NumberText) else json.dumps(value, ensure_ascii=False)
