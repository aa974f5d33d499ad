-- Accepted rows that the set logic rejects, each once: bursts are counted without duplicates.
select
    source_file,
    source_row,
    reason,
    detail
from duplicates
union all
select
    source_file,
    source_row,
    reason,
    detail
from bots
