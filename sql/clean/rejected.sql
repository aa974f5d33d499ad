-- Rejected rows of the asked partitions: those of the parser, then those of the set logic.
with judged as (
    select
        parsed.day,
        parsed.segment,
        parsed.source_file,
        parsed.source_row,
        parsed.segment_known,
        coalesce(parsed.reason, verdicts.reason) as reason,
        coalesce(parsed.detail, verdicts.detail, '') as detail,
        parsed.raw,
        coalesce(parsed.raw_sha256, sha256(parsed.raw)) as raw_sha256
    from parsed
    inner join asked
        on parsed.day = asked.day and parsed.segment = asked.segment
    left join verdicts
        on
            parsed.reason is null
            and parsed.source_file = verdicts.source_file
            and parsed.source_row = verdicts.source_row
    where parsed.reason is not null or verdicts.reason is not null
)

select
    day,
    segment,
    source_file,
    source_row,
    segment_known,
    reason,
    detail,
    raw,
    raw_sha256
from judged
order by day, segment, source_file, source_row
