-- Rows delivered, accepted and rejected, and the expectations that the day's tables meet.
with deliveries as (
    select
        day,
        segment,
        coalesce(sum(rows) filter (where table_name = 'clean_events'), 0) as rows_clean,
        coalesce(sum(rows) filter (where table_name = 'rejected_events'), 0) as rows_rejected
    from base.loaded_partitions
    where table_name in ('clean_events', 'rejected_events')
    group by day, segment
),

check_counts as (
    select
        day,
        segment,
        count(*) filter (where passed) as expectations_passed,
        count(*) filter (where not passed) as expectations_failed,
        count(*) filter (where not passed and severity = 'ERROR') as errors
    from base.quality_verdicts
    group by day, segment
)

select
    deliveries.day,
    deliveries.segment,
    deliveries.rows_clean + deliveries.rows_rejected as rows_delivered,
    deliveries.rows_clean,
    deliveries.rows_rejected,
    deliveries.rows_rejected / nullif(deliveries.rows_clean + deliveries.rows_rejected, 0) as rejected_share,
    coalesce(check_counts.expectations_passed, 0) as expectations_passed,
    coalesce(check_counts.expectations_failed, 0) as expectations_failed,
    coalesce(check_counts.errors, 0) as errors
from deliveries
left join check_counts on deliveries.day = check_counts.day and deliveries.segment = check_counts.segment
