"""Laws of the simulated log."""

from __future__ import annotations

import gzip
import hashlib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import orjson
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from pydantic import ValidationError

from shift_assets.contracts.cleaning import BEHAVIORS
from shift_assets.ingest.source.shipped import load_source
from shift_assets.simulate.simulation import PlantedShares, Simulation
from shift_assets.simulate.writer import SimulationError, Summary, simulate

pytestmark = pytest.mark.slow

DAYS = 80
SIMULATION = Simulation(
    users=1_500,
    items=600,
    days=DAYS,
    categories=12,
    first_day=date(2026, 2, 1),
    events_per_user_day=6.0,
    promotions=4,
    season_strength=0.1,
    planted=PlantedShares(
        abrupt=0.08,
        partial=0.08,
        gradual=0.08,
        seasonal_return=0.08,
        surge=0.08,
        fade=0.08,
        churn=0.05,
        gift=0.1,
        volume=0.1,
    ),
)
SMALL = SIMULATION.model_copy(update={"users": 300, "days": 6, "users_per_file": 120})


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return simulate(SIMULATION, tmp_path_factory.mktemp("simulated"), workers=1)


@pytest.fixture(scope="module")
def labels(written: Summary) -> pd.DataFrame:
    table: pd.DataFrame = pq.read_table(written.labels).to_pandas()
    return table


@pytest.fixture(scope="module")
def events(written: Summary) -> pd.DataFrame:
    query = f"""
        select user_id, category, behavior, event_ts, cast(regexp_extract(filename, 'day=([0-9-]+)', 1) as date) as day
        from read_json('{written.landing}/events/*/*.jsonl.gz', filename = true, columns =
            {{user_id: 'varchar', category: 'varchar', behavior: 'varchar', event_ts: 'bigint'}})
    """  # noqa: S608
    return duckdb.sql(query).df()


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def mix(events: pd.DataFrame) -> pd.Series:
    return events.groupby(["user_id", "category"]).size() / events.groupby("user_id").size()


def total_variation(before: pd.DataFrame, after: pd.DataFrame, minimum_events: int = 60) -> pd.Series:
    """Total variation per user between two sets of events; users with too few in either are left out."""
    enough = [
        set(counts[counts >= minimum_events].index)
        for counts in (before.user_id.value_counts(), after.user_id.value_counts())
    ]
    shares = pd.concat([mix(before), mix(after)], axis=1).fillna(0.0)
    distance = (shares[0] - shares[1]).abs().groupby(level=0).sum() / 2
    return distance[distance.index.isin(enough[0] & enough[1])]


def planned_against_seen(events: pd.DataFrame, labels: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Planned and seen total variation of the users of one kind: before the start against the changed stretch."""
    mine = labels[labels.kind == kind].set_index("user_id")
    own = events[events.user_id.isin(mine.index)]
    start = pd.to_datetime(own.user_id.map(mine.start_day))
    end = pd.to_datetime(own.user_id.map(mine.end_day))
    passing = kind in ("seasonal_return", "surge")
    after = own[(own.day >= start) & (own.day <= end)] if passing else own[own.day > end]
    return pd.DataFrame(
        {"planned": mine.total_variation, "seen": total_variation(own[own.day < start], after)}
    ).dropna()


def test_equal_settings_give_equal_bytes_whatever_the_number_of_workers(tmp_path: Path) -> None:
    for workers in (1, 2):
        simulate(SMALL, tmp_path / str(workers), workers=workers)
    one, two = digests(tmp_path / "1"), digests(tmp_path / "2")
    assert one == two
    assert sum(name.startswith("landing/events") for name in one) == 6 * 3


def test_another_seed_gives_other_events(tmp_path: Path) -> None:
    for seed in (1, 2):
        simulate(SMALL.model_copy(update={"seed": seed}), tmp_path / str(seed), workers=1)
    assert not set(digests(tmp_path / "1" / "landing" / "events").values()) & set(
        digests(tmp_path / "2" / "landing" / "events").values()
    )


def test_every_line_is_an_event_of_its_folders_local_day_in_order_of_time(tmp_path: Path) -> None:
    new_york = SMALL.model_copy(
        update={"timezone": "America/New_York", "first_day": date(2026, 3, 6)}
    )  # 8 March has 23 h
    summary = simulate(new_york, tmp_path, workers=1)
    total = 0
    for path in summary.landing.glob("events/*/*"):
        rows = [orjson.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        stamps = [row["event_ts"] for row in rows]
        assert stamps == sorted(stamps)
        local = {datetime.fromtimestamp(t / 1000, UTC).astimezone(ZoneInfo("America/New_York")).date() for t in stamps}
        assert local == {date.fromisoformat(path.parent.name.removeprefix("day="))}
        assert {row["behavior"] for row in rows} <= set(BEHAVIORS)
        total += len(rows)
    assert total == summary.counts.events == summary.counts.rows


def test_every_day_is_written_and_no_event_twice(written: Summary, events: pd.DataFrame) -> None:
    folders = sorted(path.name for path in (written.landing / "events").iterdir())
    assert folders == [f"day={SIMULATION.first_day + timedelta(days=k)}" for k in range(DAYS)]
    assert len(events) == written.counts.events


@pytest.mark.parametrize("wanted", [{"events": 30_000}, {"events": 400_000}, {"events_per_user_day": 0.2}])
def test_the_log_is_as_large_as_asked_for(wanted: dict[str, Any], tmp_path: Path) -> None:
    simulation = Simulation(users=1_000, days=40, planted=PlantedShares(gift=0.02), **wanted)
    summary = simulate(simulation, tmp_path, workers=1)
    assert summary.counts.events == pytest.approx(simulation.target_events, rel=0.06)


def test_behaviours_form_a_funnel(events: pd.DataFrame) -> None:
    count = events.behavior.value_counts()
    assert set(count.index) == set(BEHAVIORS)
    assert count["view"] > 2 * count["click"] > 4 * count["cart"] > 4 * count["purchase"] > 8 * count["return"]


@pytest.mark.parametrize("kind", ["abrupt", "partial", "gradual", "seasonal_return", "fade", "surge"])
def test_a_labelled_user_shifts_as_far_as_its_label_says(kind: str, events: pd.DataFrame, labels: pd.DataFrame) -> None:
    distances = planned_against_seen(events, labels, kind)
    assert len(distances) >= 15
    assert (distances.seen - distances.planned).abs().median() < 0.15
    assert distances.seen.mean() == pytest.approx(distances.planned.mean(), abs=0.12)


def test_a_seasonal_return_is_back_where_it_was(events: pd.DataFrame, labels: pd.DataFrame) -> None:
    mine = labels[labels.kind == "seasonal_return"].set_index("user_id")
    own = events[events.user_id.isin(mine.index)]
    before = own[own.day < pd.to_datetime(own.user_id.map(mine.start_day))]
    after = own[own.day > pd.to_datetime(own.user_id.map(mine.end_day))]
    assert total_variation(before, after).median() < 0.3


def test_users_who_must_not_alert_keep_their_mix(events: pd.DataFrame, labels: pd.DataFrame) -> None:
    middle = pd.Timestamp(SIMULATION.first_day + timedelta(days=DAYS // 2))
    quiet = events[~events.user_id.isin(labels[labels.must_alarm].user_id)]
    gifts = labels[labels.kind == "gift"].set_index("user_id")
    days_since = (quiet.day - pd.to_datetime(quiet.user_id.map(gifts.start_day))).dt.days
    quiet = quiet[~days_since.isin([0, 1])]
    assert total_variation(quiet[quiet.day < middle], quiet[quiet.day >= middle]).median() < 0.25


def test_a_gift_is_two_days_in_one_foreign_category(events: pd.DataFrame, labels: pd.DataFrame) -> None:
    for gift in labels[labels.kind == "gift"].head(20).to_dict("records"):
        own = events[events.user_id == gift["user_id"]]
        days = [pd.Timestamp(gift["start_day"]), pd.Timestamp(gift["end_day"])]
        assert (own[own.day.isin(days)].category == gift["to_categories"][0]).sum() >= 16
        assert (own[~own.day.isin(days)].category == gift["to_categories"][0]).mean() < 0.25


def test_a_volume_change_changes_only_the_volume(events: pd.DataFrame, labels: pd.DataFrame) -> None:
    mine = labels[labels.kind == "volume"].set_index("user_id")
    own = events[events.user_id.isin(mine.index)]
    changed = own.day >= pd.to_datetime(own.user_id.map(mine.start_day))
    per_day = own.groupby(["user_id", changed])["day"].agg(lambda days: len(days) / days.nunique()).unstack()
    ratio = (per_day[True] / per_day[False]).dropna()
    assert ((ratio > 1.5) | (ratio < 0.7)).mean() > 0.8
    assert (ratio > 1.5).any()
    assert (ratio < 0.7).any()


def test_a_churned_user_never_comes_back(events: pd.DataFrame, labels: pd.DataFrame) -> None:
    mine = labels[labels.kind == "churn"].set_index("user_id")
    own = events[events.user_id.isin(mine.index)]
    assert len(own)
    assert (own.day < pd.to_datetime(own.user_id.map(mine.start_day))).all()


def test_a_promotion_moves_everybody(written: Summary, events: pd.DataFrame, labels: pd.DataFrame) -> None:
    promotions = labels[labels.kind == "promotion"]
    assert [day.isoformat() for day in promotions.start_day] == [day.isoformat() for day in written.promotion_days]
    assert promotions.user_id.isna().all()
    assert not promotions.must_alarm.any()
    daily = events.groupby("day").size()
    shares = events.groupby(["day", "category"]).size().unstack(fill_value=0).div(daily, axis=0)
    special = shares.index.isin(pd.to_datetime(promotions.start_day))
    plain = shares[~special].mean()
    distance = (shares - plain).abs().sum(axis=1) / 2
    assert distance[special].min() > distance[~special].max()
    assert daily[special].mean() > 1.4 * daily[~special].mean()


def test_the_labels_name_every_planted_user_once(written: Summary, labels: pd.DataFrame) -> None:
    users = labels.dropna(subset="user_id")
    assert users.user_id.is_unique
    assert users.kind.value_counts().to_dict() == {k: n for k, n in written.users_by_kind.items() if k != "none"}
    known = pq.read_table(written.landing / "users" / "users.parquet")["user_id"].to_pylist()
    assert len(known) == SIMULATION.users
    assert set(users.user_id) <= set(known)


def test_popularity_follows_zipf_and_titles_name_the_category(written: Summary) -> None:
    items = pq.read_table(written.landing / "items" / "items.parquet").to_pandas()
    first_words = items.groupby("category").title.apply(lambda titles: set(" ".join(titles).split()))
    overlap = first_words.iloc[0] & first_words.iloc[1]
    assert len(overlap) < 0.6 * min(len(first_words.iloc[0]), len(first_words.iloc[1]))
    rows = f"read_json('{written.landing}/events/*/*.jsonl.gz', columns = {{item_id: 'varchar'}})"
    counts = duckdb.sql(f"select count(*) n from {rows} group by item_id").df()  # noqa: S608
    ordered = np.sort(counts.n.to_numpy())[::-1]
    assert ordered[: len(ordered) // 10].sum() > 0.35 * ordered.sum()


def test_dirt_is_counted_and_loses_no_event(tmp_path: Path) -> None:
    clean = simulate(SMALL, tmp_path / "clean", workers=1)
    dirty = simulate(SMALL.model_copy(update={"dirt_share": 0.06}), tmp_path / "dirty", workers=1)
    counts = dirty.counts
    assert counts.events == clean.counts.events
    assert counts.rows == counts.events + counts.malformed + counts.duplicates
    assert min(counts.malformed, counts.duplicates, counts.late) > 0.01 * counts.events
    lines, parsed = [], []
    for path in sorted(dirty.landing.glob("events/*/*")):
        lines += gzip.decompress(path.read_bytes()).splitlines()
    for line in lines:
        try:
            parsed.append(orjson.loads(line))
        except orjson.JSONDecodeError:
            continue
    good = [row for row in parsed if row.get("user_id") and row["behavior"] in BEHAVIORS and row["event_ts"] > 0]
    assert len(lines) == counts.rows
    assert len({(r["user_id"], r["item_id"], r["behavior"], r["event_ts"]) for r in good}) == counts.events
    assert len(good) == counts.events + counts.duplicates


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_every_format_holds_the_same_events(form: str, tmp_path: Path) -> None:
    simulate(SMALL, tmp_path / "gzip", workers=1)
    summary = simulate(SMALL.model_copy(update={"format": form}), tmp_path / form, workers=1)
    description = yaml.safe_load(summary.source.read_text())
    columns = description["events"]["map"].values()
    pattern = f"{summary.landing}/events/*/*.{form}"
    reader = {
        "jsonl": f"read_json('{pattern}')",
        "csv": f"read_csv('{pattern}', header = false, names = {list(columns)})",
        "parquet": f"read_parquet('{pattern}')",
    }[form]
    other = f"read_json('{tmp_path}/gzip/landing/events/*/*.jsonl.gz')"
    mine, theirs = (
        duckdb.sql(f"select {', '.join(columns)} from {rows} order by all").df()  # noqa: S608
        for rows in (reader, other)
    )
    pd.testing.assert_frame_equal(mine, theirs, check_dtype=False)


def test_a_folder_that_holds_events_is_refused(tmp_path: Path) -> None:
    simulate(SMALL, tmp_path, workers=1)
    with pytest.raises(SimulationError, match="holds events already"):
        simulate(SMALL, tmp_path, workers=1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"timezone": "Mars/Olympus"}, "unknown time zone"),
        ({"planted": {"abrupt": 0.9, "gift": 0.2}}, "above 1"),
        ({"promotion_dates": ["2030-01-01"]}, "promotion days outside"),
        ({"items": 3, "categories": 4}, "ask for more items"),
        ({"other_segment": "The Rest"}, "do not match"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Simulation.model_validate(wrong)


@pytest.mark.parametrize("form", ["jsonl.gz", "csv", "parquet"])
def test_the_source_yaml_next_to_the_landing_folder_is_complete(form: str, tmp_path: Path) -> None:
    summary = simulate(SMALL.model_copy(update={"format": form}), tmp_path, workers=1)
    source = load_source(summary.source)
    assert source.segment_keys == ("uk", "dach", "france", "rest")
    assert source.timezone == SIMULATION.timezone
