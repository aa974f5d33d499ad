"""Laws of runs that a command executes: a killed one holds up nobody."""

from __future__ import annotations

from pathlib import Path

from dagster import DagsterRun, DagsterRunStatus

from shift_assets.defs.instance import open_instance
from shift_assets.defs.range_run import NO_RETRY, STARTED_BY_COMMAND, _run_lock, close_killed_runs
from shift_assets_tests.workspaces import new_workspace

POOL = "spark"


def test_a_killed_commands_run_is_closed_and_its_slot_is_free(tmp_path: Path) -> None:
    """Of three started runs only the one whose command is gone is closed: not a living one, none of the daemon's.

    A run that the UI executes again inherits the tags of the command's run.
    """
    workspace = new_workspace(tmp_path)
    home = workspace.settings.dagster_home
    with open_instance(workspace) as instance:
        started = DagsterRunStatus.STARTED
        killed, living = (
            DagsterRun("daily", status=started, tags={**STARTED_BY_COMMAND, **NO_RETRY}) for _ in range(2)
        )
        daemons = DagsterRun("daily", status=started)
        tags, parent = {**STARTED_BY_COMMAND, **NO_RETRY}, killed.run_id
        again = DagsterRun("daily", status=started, tags=tags, root_run_id=parent, parent_run_id=parent)
        for run in (killed, living, daemons, again):
            instance.add_run(run)
        storage = instance.event_log_storage
        storage.initialize_concurrency_limit_to_default(POOL)
        assert storage.claim_concurrency_slot(POOL, killed.run_id, "cleaning").is_claimed
        with _run_lock(home, living.run_id):
            assert close_killed_runs(instance, home) == [killed.run_id]
        statuses = {run.run_id: run.status for run in instance.get_runs()}
        assert statuses.pop(killed.run_id) == DagsterRunStatus.FAILURE
        assert statuses == {living.run_id: started, daemons.run_id: started, again.run_id: started}
        assert storage.claim_concurrency_slot(POOL, living.run_id, "cleaning").is_claimed
