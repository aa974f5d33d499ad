-- Rows delivered and rejected, where the segment's day has users enough.
with shown as (
    select
        quality.day,
        quality.segment,
        quality.rows_delivered,
        quality.rows_clean,
        quality.rows_rejected
    from marts.data_quality as quality
    inner join marts.shift_overview as overview
        on quality.day = overview.day and quality.segment = overview.segment
    where overview.users_active >= getvariable('minimum_users')
)

select
    quality.day,
    quality.segment,
    shown.rows_delivered,
    shown.rows_clean,
    shown.rows_rejected,
    shown.rows_delivered is null as suppressed
from marts.data_quality as quality
left join shown on quality.day = shown.day and quality.segment = shown.segment
