-- Rows of each source file by the partition they belong to.
select
    source_file,
    day,
    segment,
    count(*) as landed_rows
from parsed
group by source_file, day, segment
