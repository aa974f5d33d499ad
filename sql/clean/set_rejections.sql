-- Accepted rows that the set logic rejects, each once: duplicates are taken out before bursts are counted.
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
