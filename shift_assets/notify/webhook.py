"""Deliver the alert outbox to a webhook: at least once, each message with its idempotency key.

A ledger (SQLite) records what was delivered or permanently refused, so that a re-run sends nothing twice unless it
was killed between the response and its record; the receiver drops that one by the `Idempotency-Key` header. A failing
webhook raises nothing: it is reported, and the next delivery tries again.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import requests
import tenacity

_logger = logging.getLogger(__name__)

ATTEMPTS = 5
TIMEOUT_SECONDS = (5.0, 15.0)
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 60.0
MAX_CONSECUTIVE_FAILURES = 3
"""Consecutive messages that exhaust their attempts before the webhook counts as down and the rest waits."""

_RETRYABLE_STATUSES = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Delivery:
    """Number of messages of one delivery by outcome."""

    delivered: int = 0
    known: int = 0
    """Delivered or refused by an earlier delivery."""
    unneeded: int = 0
    """The end of an alert that was never reported."""
    dead: int = 0
    """Permanently refused (4xx): recorded in the ledger with the status code, not tried again."""
    waiting: int = 0
    """Not delivered: the next delivery tries again."""
    last_error: str | None = None


class _RetryableError(Exception):
    def __init__(self, failure: str, retry_after: float = 0.0) -> None:
        super().__init__(failure)
        self.retry_after = retry_after


def deliver(
    outbox: pa.Table, webhook_url: str, ledger_path: Path, *, sleep: Callable[[float], None] = tenacity.nap.sleep
) -> Delivery:
    """Post the messages that the ledger does not know, oldest day first.

    A 2xx response is a delivery. 408, 425, 429, 5xx and connection failures are retried after jittered exponential
    waits, or after the seconds that `Retry-After` asks for; any other response is a permanent refusal.

    Args:
        outbox: Rows of ALERT_OUTBOX of the last days, not only of today, so that waiting messages are delivered too.
        webhook_url: Where to post. It may contain a secret, so it is never part of a report.
        ledger_path: The SQLite file of the ledger.
        sleep: Waits between attempts; tests replace it.
    """
    started = time.monotonic()
    counts = dict.fromkeys(("delivered", "known", "unneeded", "dead", "waiting"), 0)
    failure: str | None = None
    failures_in_a_row = 0
    with _ledger(ledger_path) as ledger, requests.Session() as session:
        for message in outbox.sort_by([("day", "ascending"), ("message_id", "ascending")]).to_pylist():
            if _is_known(ledger, message["message_id"]):
                counts["known"] += 1
            elif message["status"] == "closed" and not _was_reported(ledger, message["alert_id"]):
                counts["unneeded"] += 1
            elif failures_in_a_row >= MAX_CONSECUTIVE_FAILURES:
                counts["waiting"] += 1
            else:
                try:
                    status = _post_with_retries(session, webhook_url, message, sleep)
                except _RetryableError as error:
                    counts["waiting"] += 1
                    failures_in_a_row += 1
                    failure = str(error)
                    continue
                failures_in_a_row = 0
                accepted = 200 <= status < 300
                failure = failure if accepted else f"HTTP {status}"
                counts["delivered" if accepted else "dead"] += 1
                _record(ledger, message, status)
    seconds = time.monotonic() - started
    _logger.info("webhook: %s in %.1f s", ", ".join(f"{count} {name}" for name, count in counts.items()), seconds)
    return Delivery(**counts, last_error=failure)


# For the command and the run configuration that resend refused messages.
def redrive(ledger_path: Path) -> int:
    """Remove permanent refusals from the ledger, so that the next delivery tries them again; return their number."""
    with _ledger(ledger_path) as ledger:
        return ledger.execute("delete from settled where http_status not between 200 and 299").rowcount


def _post_with_retries(
    session: requests.Session, webhook_url: str, message: dict[str, str], sleep: Callable[[float], None]
) -> int:
    jittered = tenacity.wait_random_exponential(FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS)

    def wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, _RetryableError) else 0.0
        return min(max(asked, jittered(state)), LONGEST_WAIT_SECONDS)

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=wait,
        retry=tenacity.retry_if_exception_type(_RetryableError),
        sleep=sleep,
        reraise=True,
    )
    return retrying(_post, session, webhook_url, message)


def _post(session: requests.Session, webhook_url: str, message: dict[str, str]) -> int:
    try:
        answer = session.post(
            webhook_url,
            data=message["payload"].encode(),
            headers={"Content-Type": "application/json", "Idempotency-Key": message["message_id"]},
            timeout=TIMEOUT_SECONDS,
            allow_redirects=False,
        )
    except requests.RequestException as error:
        raise _RetryableError(type(error).__name__) from None  # the error's text holds the address
    if answer.status_code in _RETRYABLE_STATUSES or answer.status_code >= 500:
        asked = answer.headers.get("Retry-After", "")
        raise _RetryableError(f"HTTP {answer.status_code}", float(asked) if asked.isdecimal() else 0.0)
    return answer.status_code


@contextmanager
def _ledger(path: Path) -> Iterator[sqlite3.Connection]:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=60, isolation_level=None)
    try:
        connection.execute(
            "create table if not exists settled (message_id text primary key, alert_id text, http_status integer) "
            "without rowid"
        )
        connection.execute("create index if not exists settled_alerts on settled (alert_id)")
        yield connection
    finally:
        connection.close()


def _is_known(ledger: sqlite3.Connection, message_id: str) -> bool:
    return ledger.execute("select 1 from settled where message_id = ?", (message_id,)).fetchone() is not None


def _was_reported(ledger: sqlite3.Connection, alert_id: str) -> bool:
    query = "select 1 from settled where alert_id = ? and http_status between 200 and 299"
    return ledger.execute(query, (alert_id,)).fetchone() is not None


def _record(ledger: sqlite3.Connection, message: dict[str, str], status: int) -> None:
    ledger.execute(
        "insert or replace into settled values (?, ?, ?)", (message["message_id"], message["alert_id"], status)
    )
