-- Every repetition of an event but its first row. Few ids repeat, so only their rows are compared and sorted.
with repeated as (
    select event_id
    from accepted
    group by event_id
    having count(*) > 1
),

numbered as (
    select
        accepted.event_id,
        accepted.source_file,
        accepted.source_row,
        row_number() over (
            partition by accepted.day, accepted.segment, accepted.event_id
            order by accepted.folder_day, accepted.source_file, accepted.source_row
        ) as occurrence,
        first_value(accepted.source_file) over (
            partition by accepted.day, accepted.segment, accepted.event_id
            order by accepted.folder_day, accepted.source_file, accepted.source_row
        ) as first_file,
        first_value(accepted.source_row) over (
            partition by accepted.day, accepted.segment, accepted.event_id
            order by accepted.folder_day, accepted.source_file, accepted.source_row
        ) as first_row
    from accepted
    inner join repeated
        on accepted.event_id = repeated.event_id
)

select
    source_file,
    source_row,
    'duplicate' as reason,
    'event ' || event_id || ' repeats ' || first_file || ':' || cast(first_row as varchar) as detail
from numbered
where occurrence > 1
