"""The churn assets over days and segments: what they read, and go on from."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from shift_assets.churn.bg_nbd import HORIZON_DAYS, ChurnParameters
from shift_assets.contracts.churn import CHURN_PREDICTIONS
from shift_assets.contracts.partition import Partition, days_between
from shift_assets.contracts.shift import INTEREST_STATE
from shift_assets.defs.assets.churn import _calibration, _predictions
from shift_assets.settings.root import ChurnSettings
from shift_assets.storage.lake import MissingPartition
from shift_assets.workspace.workspace import Workspace
from shift_assets_tests.churn.visits import DAY, simulated, state_of
from shift_assets_tests.workspaces import new_workspace

pytestmark = pytest.mark.slow

PARAMETERS = ChurnParameters(r=0.9, alpha=12.0, a=0.7, b=4.0)
SINCE = DAY - timedelta(days=HORIZON_DAYS + 7)
"""First day whose state is kept. It and `DAY` are Sundays, on which the model is fitted."""
EMPTY = {"profile": [], "former_profile": [], "log_evidence": [], "run_length": [], "scored_days": 0}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two segments, one of them with few users, whose states of five weeks are kept."""
    found = new_workspace(tmp_path_factory.mktemp("home"), days=301, first_day=DAY - timedelta(days=300))
    settings = found.settings.model_copy(update={"churn": ChurnSettings(precision=0.6)})
    found = Workspace(settings, found.source)
    many, few, *_ = found.source.segment_keys
    logs = {many: simulated(PARAMETERS, 1_500, 300, seed=1), few: simulated(PARAMETERS, 15, 300, seed=2)}
    for day in days_between(SINCE, DAY):
        states = []
        for segment, log in logs.items():
            state = state_of([[visit for visit in user if visit <= day] for user in log], day)
            rows = [
                {"day": day, "segment": segment, **EMPTY, "response_gradient": 0.0, "response_information": 0.0, **row}
                for row in state.to_pylist()
            ]
            for row in rows:
                row["recent_days"] = [{"day": one["day"], "scores": [], "counts": []} for one in row["recent_days"]]
            states.append(pa.Table.from_pylist(rows, schema=INTEREST_STATE.schema))
        claim = found.lake.claim(INTEREST_STATE, [Partition(day, segment) for segment in logs], "test")
        found.lake.publish(INTEREST_STATE, pa.concat_tables(states), claim)
    return found


def partitions_of(workspace: Workspace, days: int) -> list[Partition]:
    segments = workspace.source.segment_keys[:2]
    return [Partition(d, s) for d in days_between(DAY - timedelta(days=days - 1), DAY) for s in segments]


def test_days_one_by_one_are_those_of_a_range(workspace: Workspace) -> None:
    """Warnings are carried through the lake as within a run, over the day of a new fit."""
    wanted = partitions_of(workspace, 9)
    at_once = _predictions(workspace, wanted)
    assert at_once["warning"].null_count < len(at_once)
    for first in range(0, len(wanted), 2):
        day = wanted[first : first + 2]
        rows = _predictions(workspace, day)
        workspace.lake.publish(CHURN_PREDICTIONS, rows, workspace.lake.claim(CHURN_PREDICTIONS, day, "test"))
    keys = [(name, "ascending") for name in ("day", "segment", "user_id")]
    first_day, last_day = wanted[0].day, wanted[-1].day
    stored = workspace.lake.read(CHURN_PREDICTIONS, first_day=first_day, last_day=last_day)
    assert stored.sort_by(keys).equals(at_once.sort_by(keys))


def test_a_segment_of_few_users_has_the_threshold_of_all(workspace: Workspace) -> None:
    """Both segments have one, and users of both are listed."""
    rows = _predictions(workspace, partitions_of(workspace, 1))
    many, few = (rows.filter(pc.equal(rows["segment"], segment)) for segment in workspace.source.segment_keys[:2])
    assert 0 < len(few) < 20 < len(many)
    assert few["threshold"].null_count == many["threshold"].null_count == 0


def test_the_report_predicts_in_hindsight_where_nothing_was_predicted(workspace: Workspace) -> None:
    """The states of four weeks ago and of its fit are kept: the first weeks of the table have a report."""
    (many, few), monday = partitions_of(workspace, 1), Partition(DAY + timedelta(days=1), "north")
    report = _calibration(workspace, [many, few, monday])
    rows = {row["segment"]: row for row in report.to_pylist()}
    assert rows.keys() == {many.segment, few.segment}
    assert rows[many.segment]["auc"] > 0.7
    assert (rows[many.segment]["n_warned"], rows[many.segment]["warned_precision"]) == (0, None)


def test_the_state_of_the_fit_must_exist(workspace: Workspace) -> None:
    """A message names the day; before the first day of the calendar there is nothing to fit."""
    day = Partition(SINCE, workspace.source.segment_keys[0])
    with pytest.raises(MissingPartition, match=str(SINCE - timedelta(days=7))):
        _predictions(workspace, [day])
    calendar = workspace.settings.calendar.model_copy(update={"first_day": SINCE})
    young = Workspace(workspace.settings.model_copy(update={"calendar": calendar}), workspace.source)
    assert _predictions(young, [day]).num_rows == 0
