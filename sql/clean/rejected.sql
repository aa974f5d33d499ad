-- Rejected rows of the asked partitions: those of the parser, and those of the set logic.
with judged as (
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
    inner join asked
        on parsed.day = asked.day and parsed.segment = asked.segment
    where parsed.reason is not null
    union all
    select
        parsed.day,
        parsed.segment,
        parsed.source_file,
        parsed.source_row,
        parsed.segment_known,
        verdicts.reason,
        verdicts.detail,
        parsed.raw,
        parsed.raw_sha256
    from parsed
    inner join verdicts
        on parsed.source_row = verdicts.source_row and parsed.source_file = verdicts.source_file
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
from judged
order by day, segment, source_file, source_row
