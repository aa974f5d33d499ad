-- How a segment's categories moved. Shares sum to one before and after, so the smallest category that may be shown
-- is withheld as soon as another one must be.
with examined as (
    select
        day,
        segment,
        category,
        n_users < getvariable('minimum_users') as too_few,
        bool_or(n_users < getvariable('minimum_users')) over (partition by day, segment) as some_too_few,
        row_number() over (
            partition by day, segment, n_users < getvariable('minimum_users')
            order by n_users, category
        ) as place
    from base.segment_shifts
),

shown as (
    select shifts.*
    from base.segment_shifts as shifts
    inner join examined
        on
            shifts.day = examined.day
            and shifts.segment = examined.segment
            and shifts.category = examined.category
    where not (examined.too_few or (examined.some_too_few and examined.place = 1))
)

select
    examined.day,
    examined.segment,
    examined.category,
    shown.n_users as users,
    shown.share_before,
    shown.share_after,
    shown.z_score,
    shown.direction,
    shown.n_users is null as suppressed
from examined
left join shown
    on
        examined.day = shown.day
        and examined.segment = shown.segment
        and examined.category = shown.category
