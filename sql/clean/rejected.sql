-- Rejected rows of the requested partitions: those rejected by the parser and by the set logic.
with rejected as (
    select
        parsed.day,
        parsed.segment,
        parsed.source_file,
        parsed.source_row,
        parsed.segment_known,
        parsed.reason,
        parsed.detail,
        parsed.raw,
        parsed.raw_sha256
    from parsed
    inner join requested
        on parsed.day = requested.day and parsed.segment = requested.segment
    where parsed.reason is not null
    union all
    select
        parsed.day,
        parsed.segment,
        parsed.source_file,
        parsed.source_row,
        parsed.segment_known,
        set_rejections.reason,
        set_rejections.detail,
        parsed.raw,
        parsed.raw_sha256
    from parsed
    inner join set_rejections
        on parsed.source_row = set_rejections.source_row and parsed.source_file = set_rejections.source_file
)

select
    day,
    segment,
    source_file,
    source_row,
    segment_known,
    reason,
    coalesce(detail, '') as detail,
    raw,
    coalesce(raw_sha256, sha256(raw)) as raw_sha256
from rejected
order by day, segment, source_file, source_row
