-- Outcomes of the shift alerts whose horizon ended on the day, in users. The share is shown only where both sides of it
-- are many.
with examined as (
    select
        outcomes.day,
        outcomes.segment,
        alerts.user_id,
        bool_or(outcomes.confirmed) as confirmed
    from base.alert_outcomes as outcomes
    inner join base.shift_alerts as alerts
        on
            outcomes.segment = alerts.segment
            and outcomes.alert_id = alerts.alert_id
            and outcomes.day - outcomes.horizon_days::integer = alerts.day
    where outcomes.confirmed is not null and alerts.kind != 'churn_risk'
    group by outcomes.day, outcomes.segment, alerts.user_id
),

counts as (
    select
        day,
        segment,
        count(*) as users,
        count(*) filter (where confirmed) as users_confirmed
    from examined
    group by day, segment
)

select
    overview.day,
    overview.segment,
    case when counts.users >= getvariable('minimum_users') then counts.users end as users_judged,
    case
        when least(counts.users_confirmed, counts.users - counts.users_confirmed) >= getvariable('minimum_users')
            then counts.users_confirmed / counts.users
    end as confirmed_share,
    coalesce(counts.users, 0) < getvariable('minimum_users') as suppressed
from marts.outcomes as overview
left join counts on overview.day = counts.day and overview.segment = counts.segment
