"""Laws of the webhook delivery, against a real server with scripted responses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pytest

from shift_assets.contracts.serving import ALERT_OUTBOX
from shift_assets.contracts.shift import SHIFT_ALERTS
from shift_assets.notify import webhook
from shift_assets.notify.outbox import message_id, outbox_messages
from shift_assets.notify.webhook import Delivery, deliver, redrive
from shift_assets_tests.lakes import partitions, rows_of

pytestmark = pytest.mark.slow

DROP = -1
"""In a script: close the connection without an answer."""


@dataclass
class Server:
    """Answers by `script`, then 200; remembers what it received."""

    url: str = ""
    script: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    received: list[tuple[str, bytes]] = field(default_factory=list)


@contextmanager
def serving(script: list[int], headers: dict[str, str] | None = None) -> Iterator[Server]:
    state = Server(script=list(script), headers=headers or {})

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.received.append((self.headers["Idempotency-Key"], body))
            status = state.script.pop(0) if state.script else 200
            if status == DROP:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        state.url = f"http://127.0.0.1:{server.server_port}/hook?token=secret"
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def messages(count: int, *, status: str = "opened") -> pa.Table:
    alerts = rows_of(SHIFT_ALERTS, partitions(1)[0], 50, users=1000).slice(0, count).to_pylist()
    changed = [alert | {"status": status, "severity": "high"} for alert in alerts]
    return outbox_messages(pa.Table.from_pylist(changed, schema=SHIFT_ALERTS.schema), "low")


@pytest.fixture
def sleeps() -> list[float]:
    return []


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "notify" / "ledger.sqlite"


def test_each_message_arrives_with_its_key_and_is_never_sent_again(ledger: Path, sleeps: list[float]) -> None:
    outbox = messages(4)
    with serving([]) as server:
        assert deliver(outbox, server.url, ledger, sleep=sleeps.append) == Delivery(delivered=4)
        assert deliver(outbox, server.url, ledger, sleep=sleeps.append) == Delivery(known=4)
    assert dict(server.received) == {
        row["message_id"]: row["payload"].encode() for row in outbox.select(["message_id", "payload"]).to_pylist()
    }
    assert len(server.received) == 4
    assert sleeps == []


@pytest.mark.parametrize("fault", [500, 503, 429, 408, DROP])
def test_a_transient_error_is_retried_with_the_same_key(ledger: Path, sleeps: list[float], fault: int) -> None:
    with serving([fault, fault]) as server:
        assert deliver(messages(1), server.url, ledger, sleep=sleeps.append) == Delivery(delivered=1)
    assert len({key for key, _ in server.received}) == 1
    assert len(sleeps) == 2
    assert all(0 <= sleep_seconds <= webhook.LONGEST_WAIT_SECONDS for sleep_seconds in sleeps)


def test_the_server_may_ask_for_a_longer_wait(ledger: Path, sleeps: list[float]) -> None:
    with serving([429], {"Retry-After": "30"}) as server:
        assert deliver(messages(1), server.url, ledger, sleep=sleeps.append).delivered == 1
    assert len(sleeps) == 1
    assert 30 <= sleeps[0] <= webhook.LONGEST_WAIT_SECONDS


@pytest.mark.parametrize("answer", [400, 401, 404, 302])
def test_a_permanently_refused_message_is_kept_and_not_retried(ledger: Path, sleeps: list[float], answer: int) -> None:
    outbox = messages(3)
    with serving([200, answer]) as server:
        found = deliver(outbox, server.url, ledger, sleep=sleeps.append)
        assert found == Delivery(delivered=2, dead=1, last_error=f"HTTP {answer}")
        assert deliver(outbox, server.url, ledger, sleep=sleeps.append) == Delivery(known=3)
        assert redrive(ledger) == 1
        assert deliver(outbox, server.url, ledger, sleep=sleeps.append) == Delivery(delivered=1, known=2)


def test_a_webhook_that_is_down_is_given_up_and_retried_next_time(ledger: Path, sleeps: list[float]) -> None:
    outbox, tries = messages(10), webhook.ATTEMPTS * webhook.MAX_CONSECUTIVE_FAILURES
    with serving([503] * tries) as server:
        found = deliver(outbox, server.url, ledger, sleep=sleeps.append)
        assert found == Delivery(waiting=10, last_error="HTTP 503")
        assert len(server.received) == tries
        assert deliver(outbox, server.url, ledger, sleep=sleeps.append) == Delivery(delivered=10)


def test_a_refused_connection_is_reported_without_the_address(ledger: Path, sleeps: list[float]) -> None:
    with serving([]) as server:
        pass
    found = deliver(messages(1), server.url, ledger, sleep=sleeps.append)
    assert (found.waiting, found.last_error) == (1, "ConnectionError")


def test_the_end_of_an_alert_is_reported_only_where_its_start_was(ledger: Path, sleeps: list[float]) -> None:
    opened, closed = messages(1), messages(2, status="closed")
    with serving([]) as server:
        deliver(opened, server.url, ledger, sleep=sleeps.append)
        assert deliver(closed, server.url, ledger, sleep=sleeps.append) == Delivery(delivered=1, unneeded=1)
    assert server.received[1][0] == message_id(opened["alert_id"][0].as_py(), "closed", "high")


def test_an_empty_outbox_needs_no_server(ledger: Path) -> None:
    assert deliver(ALERT_OUTBOX.empty(), "http://127.0.0.1:1/", ledger) == Delivery()
