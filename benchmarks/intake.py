"""Rows per second that the strict parser takes on one core, per format, on a log made here.

Run: `python benchmarks/intake.py [rows]`. The log has 5,000 users, 100,000 items and lines of about 115 bytes.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from report import recorded
from shift_assets.ingest.readers.source_files import SourceFile
from shift_assets.ingest.rows.parse_context import ParseContext
from shift_assets.ingest.rows.parser import parse_file
from shift_assets.ingest.source.shipped import load_source

DAY = date(2017, 11, 25)
NOON = 1511582400
FORMATS = {
    "jsonl": "format: jsonl",
    "csv": "format: csv\n  csv: {header: true}",
    "parquet": "format: parquet",
}
SOURCE = """\
source: benchmark
timezone: Asia/Shanghai
events:
  {form}
  map: {{user_id: user, item_id: item, behavior: action, event_ts: t, price: price, text: title}}
  timestamp: {{unit: s}}
  behaviors: {{pv: view, buy: purchase}}
segments: {{by: hash, shards: 4}}
"""


def main(rows: int) -> None:
    dice = random.Random(1)
    events = [
        {
            "user": f"u{dice.randrange(5_000)}",
            "item": dice.randrange(100_000),
            "action": dice.choice(["pv", "buy"]),
            "t": NOON + row % 40_000,
            "price": round(dice.random() * 100, 2),
            "title": "a title, läufer",
        }
        for row in range(rows)
    ]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        day = home / "events" / f"day={DAY}"
        day.mkdir(parents=True)
        table = pa.Table.from_pylist(events)
        for name, form in FORMATS.items():
            file = day / f"events.{name}"
            if name == "jsonl":
                file.write_text("".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events))
            elif name == "csv":
                lines = (f"{e['user']},{e['item']},{e['action']},{e['t']},{e['price']},title" for e in events)
                file.write_text("user,item,action,t,price,title\n" + "\n".join(lines))
            else:
                pq.write_table(table, file)
            (home / "source.yaml").write_text(SOURCE.format(form=form))
            context = ParseContext(load_source(home / "source.yaml"), b"k" * 32, 3, home)
            delivered = SourceFile(str(file.relative_to(home)), DAY, file.stat().st_size)
            best = min(_seconds(context, delivered) for _ in range(3))
            print(f"{name}: {rows / best:,.0f} rows per CPU second ({file.stat().st_size / best / 1e6:.0f} MB/s)")


def _seconds(context: ParseContext, delivered: SourceFile) -> float:
    begun = time.process_time()
    for _ in parse_file(context, delivered):
        pass
    return time.process_time() - begun


if __name__ == "__main__":
    with recorded("05_strict_parser"):
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 400_000)
