-- Rows of the requested partitions that the parser accepted, without their raw bytes.
select
    parsed.folder_day,
    parsed.source_file,
    parsed.source_row,
    parsed.day,
    parsed.segment,
    parsed.event_id,
    parsed.user_id,
    parsed.item_id,
    parsed.category,
    parsed.behavior,
    parsed.event_ts,
    parsed.quantity,
    parsed.price,
    parsed.rating,
    parsed.text
from parsed
inner join requested
    on parsed.day = requested.day and parsed.segment = requested.segment
where parsed.reason is null
