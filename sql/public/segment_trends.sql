-- Interest by category. Shares of a segment's day sum to one, so the smallest category that may be shown is
-- withheld as soon as another one must be.
with examined as (
    select
        day,
        segment,
        category,
        users,
        interest_share,
        users < getvariable('minimum_users') as too_few,
        bool_or(users < getvariable('minimum_users')) over (partition by day, segment) as some_too_few,
        row_number() over (
            partition by day, segment, users < getvariable('minimum_users')
            order by users, category
        ) as place
    from marts.segment_trends
),

shown as (
    select
        day,
        segment,
        category,
        users,
        interest_share
    from examined
    where not (too_few or (some_too_few and place = 1))
)

select
    examined.day,
    examined.segment,
    examined.category,
    shown.users,
    shown.interest_share,
    shown.users is null as suppressed
from examined
left join shown
    on
        examined.day = shown.day
        and examined.segment = shown.segment
        and examined.category = shown.category
