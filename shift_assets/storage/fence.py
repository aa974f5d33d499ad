"""Fencing tokens: a superseded attempt cannot publish.

A killed run worker leaves its step alive while the retry starts, so two writers of one partition do occur. Each
attempt claims its partitions and gets a token; a later claim of any of them makes the earlier token stale, and the
lake checks the token inside the transaction that commits.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shift_assets.contracts.partition import Partition
from shift_assets.errors import PermanentError

_LOCK_WAIT_SECONDS = 600.0


class FencedOut(PermanentError):
    """A later attempt claimed the same partition; this attempt must not publish."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to publish `partitions` of `table` until one of them is claimed again."""

    table: str
    token: int
    partitions: frozenset[Partition]

    def narrowed(self, partitions: Iterable[Partition]) -> Claim:
        """Return the claim restricted to some of its partitions, for a run that publishes in chunks.

        Raises:
            ValueError: A partition was not claimed.
        """
        part = frozenset(partitions)
        if not part <= self.partitions:
            raise ValueError(f"{self.table}: {sorted(part - self.partitions)[0]} was never claimed")
        return Claim(self.table, self.token, part)


class Fence:
    """The claims of an installation, in a SQLite file whose write lock serialises commits between processes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def claim(self, table: str, partitions: Iterable[Partition], holder: str) -> Claim:
        """Issue a new token for partitions of `table`; all their earlier tokens become stale.

        Args:
            table: Name of the table.
            partitions: The partitions to claim.
            holder: Who claims them, for the message of a superseded attempt.
        """
        claimed = frozenset(partitions)
        with self._transaction() as connection:
            (token,) = connection.execute("select coalesce(max(token), 0) + 1 from claims").fetchone()
            connection.executemany(
                "insert or replace into claims values (?, ?, ?, ?, ?)",
                [(table, p.day.isoformat(), p.segment, token, holder) for p in sorted(claimed)],
            )
        return Claim(table, token, claimed)

    @contextmanager
    def holding(self, claim: Claim) -> Iterator[None]:
        """Run a `with` block while no other attempt can claim or publish.

        Raises:
            FencedOut: The claim is stale.
        """
        with self._transaction() as connection:
            rows = connection.execute(
                "select day, segment, token, holder from claims where table_name = ? and token > ?",
                (claim.table, claim.token),
            ).fetchall()
            for day, segment, token, holder in rows:
                if any(p.day.isoformat() == day and p.segment == segment for p in claim.partitions):
                    raise FencedOut(
                        f"{claim.table} {day}|{segment}: attempt {claim.token} was superseded by attempt {token} "
                        f"of {holder}; nothing was published"
                    )
            yield

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=_LOCK_WAIT_SECONDS, isolation_level=None)
        try:
            connection.execute(
                "create table if not exists claims (table_name text, day text, segment text, token integer, "
                "holder text, primary key (table_name, day, segment)) without rowid"
            )
            connection.execute("begin immediate")
            yield connection
            connection.execute("commit")
        except BaseException:
            if connection.in_transaction:
                connection.execute("rollback")
            raise
        finally:
            connection.close()
