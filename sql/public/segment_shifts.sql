-- How a segment's categories moved. Shares sum to one before and after, so the smallest category that may be shown
-- is withheld as soon as another one must be.
with judged as (
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
    inner join judged
        on
            shifts.day = judged.day
            and shifts.segment = judged.segment
            and shifts.category = judged.category
    where not (judged.too_few or (judged.some_too_few and judged.place = 1))
)

select
    judged.day,
    judged.segment,
    judged.category,
    shown.n_users as users,
    shown.share_before,
    shown.share_after,
    shown.z_score,
    shown.direction,
    shown.n_users is null as suppressed
from judged
left join shown
    on
        judged.day = shown.day
        and judged.segment = shown.segment
        and judged.category = shown.category
