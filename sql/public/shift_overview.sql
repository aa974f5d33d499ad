-- A segment's day in a row. Medians are rounded: they are some user's value.
with active as (
    select
        day,
        segment,
        count(distinct user_id) as users
    from base.interest_series
    group by day, segment
),

signals as (
    select
        signals.day,
        signals.segment,
        case
            when count(signals.change_rate) >= getvariable('minimum_users')
                then round(median(signals.change_rate), 2)
        end as change_rate_median,
        case
            when count(signals.interest_gap) >= getvariable('minimum_users')
                then round(median(signals.interest_gap), 2)
        end as interest_gap_median,
        case
            when count(signals.distribution_distance) >= getvariable('minimum_users')
                then round(median(signals.distribution_distance), 2)
        end as distribution_distance_median
    from base.shift_signals as signals
    group by signals.day, signals.segment
),

churn as (
    select
        day,
        segment,
        count(distinct user_id) as users
    from base.shift_alerts
    where kind = 'churn_risk' and status != 'closed'
    group by day, segment
),

-- Rounded down: the difference to the active users with an alert (shift_kinds) would be a cell of its own.
alerted as (
    select
        day,
        segment,
        count(*) as users
    from base.open_alerts
    where kind != 'churn_risk'
    group by day, segment
),

shown as (
    select
        active.day,
        active.segment,
        active.users as users_active,
        signals.change_rate_median,
        signals.interest_gap_median,
        signals.distribution_distance_median
    from active
    left join signals on active.day = signals.day and active.segment = signals.segment
    where active.users >= getvariable('minimum_users')
)

select
    overview.day,
    overview.segment,
    shown.users_active,
    shown.change_rate_median,
    shown.interest_gap_median,
    shown.distribution_distance_median,
    shown.users_active is null as suppressed,
    case when churn.users >= getvariable('minimum_users') then churn.users end as users_churn_risk,
    case
        when alerted.users >= getvariable('minimum_users')
            then alerted.users - alerted.users % getvariable('minimum_users')
    end as users_with_shift_alert
from marts.shift_overview as overview
left join shown on overview.day = shown.day and overview.segment = shown.segment
left join churn on overview.day = churn.day and overview.segment = churn.segment
left join alerted on overview.day = alerted.day and overview.segment = alerted.segment
