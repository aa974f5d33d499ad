-- Why rows were rejected.
with reasons as (
    select
        day,
        segment,
        reason,
        count(*) as rows_rejected
    from base.rejected_events
    group by day, segment, reason
)

select
    reasons.day,
    reasons.segment,
    reasons.reason,
    reasons.rows_rejected,
    reasons.rows_rejected / quality.rows_delivered as share
from reasons
inner join marts.data_quality as quality on reasons.day = quality.day and reasons.segment = quality.segment
