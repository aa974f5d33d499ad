"""Everything that imports Dagster: assets, checks, automation, partitions."""
