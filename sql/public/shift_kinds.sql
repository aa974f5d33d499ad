-- Active users by the kind of their open alert. Every active user is in exactly one class, so the classes sum to
-- users_active; as soon as one class is too small, the next larger one is withheld with it: otherwise the sum
-- would give the small one away, alone or as a group of too few.
with classes as (
    select
        day,
        segment,
        user_id,
        arg_max(
            kind,
            {
                'severity': list_position(['low', 'medium', 'high'], severity),
                'magnitude': magnitude,
                'alert': alert_id
            }
        ) as kind
    from base.shift_alerts
    where status != 'closed' and kind != 'churn_risk'
    group by day, segment, user_id
),

active as (
    select distinct
        day,
        segment,
        user_id
    from base.interest_series
),

cells as (
    select
        active.day,
        active.segment,
        coalesce(classes.kind, 'no_shift') as kind,
        count(*) as users
    from active
    left join classes
        on
            active.day = classes.day
            and active.segment = classes.segment
            and active.user_id = classes.user_id
    group by all
),

examined as (
    select
        day,
        segment,
        kind,
        users,
        users < getvariable('minimum_users') as too_few,
        bool_or(users < getvariable('minimum_users')) over (partition by day, segment) as some_too_few,
        row_number() over (
            partition by day, segment, users < getvariable('minimum_users')
            order by users, kind
        ) as place
    from cells
)

select
    day,
    segment,
    kind,
    case when not (too_few or (some_too_few and place = 1)) then users end as users,
    too_few or (some_too_few and place = 1) as suppressed
from examined
