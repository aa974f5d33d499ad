"""Laws of what Dagster's own pages show of a run that a command executed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shift_assets.defs.automation.jobs import DAILY, HISTORY
from shift_assets_tests.end_to_end.shops import FIRST_RUN_DAY, LAST_DAY, Shop
from shift_assets_tests.end_to_end.webserver import Webserver, serve

LOCATION = 'repositoryName: "__repository__", repositoryLocationName: "shift_assets"'


@pytest.fixture(scope="module")
def webserver(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webserver]:
    with serve(shop, tmp_path_factory.mktemp("webserver") / "log") as webserver:
        yield webserver


@pytest.mark.parametrize("job", [DAILY, HISTORY])
def test_the_job_page_shows_the_run_with_its_days_and_segments(webserver: Webserver, shop: Shop, job: str) -> None:
    """The page asks for the runs of the job in its code location; the row's tags say what the run computed."""
    selector = f'params: {{ pipelineName: "{job}", {LOCATION} }}'
    fields = "... on Pipeline { runs(limit: 5) { status tags { key value } } }"
    (run,) = webserver.graphql(f"{{ pipelineOrError({selector}) {{ {fields} }} }}")["pipelineOrError"]["runs"]
    assert run["status"] == "SUCCESS"
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    if job == DAILY:
        assert tags["shift/days"] == f"{FIRST_RUN_DAY}..{LAST_DAY}"
    assert tags["shift/segments"] == ", ".join(shop.segments)


def test_the_timeline_shows_the_runs_of_every_job(webserver: Webserver) -> None:
    """The overview puts a run in the row of its code location and job, and can filter by it."""
    fields = "pipelineName repositoryOrigin { repositoryName repositoryLocationName }"
    label = 'filter: { tags: [{ key: ".dagster/repository", value: "__repository__@shift_assets" }] }'
    found = {}
    for question in ("runsOrError", f"runsOrError({label})"):
        runs = webserver.graphql(f"{{ {question} {{ ... on Runs {{ results {{ {fields} }} }} }} }}")["runsOrError"]
        assert {tuple((run["repositoryOrigin"] or {}).values()) for run in runs["results"]} == {
            ("__repository__", "shift_assets")
        }
        found[question] = sorted(run["pipelineName"] for run in runs["results"])
    assert len({tuple(names) for names in found.values()}) == 1
    assert {DAILY, HISTORY} <= set(found["runsOrError"])
