-- Who was watched and alerted, and how the signals lie, per day and segment.
with partitions as (
    select
        day,
        segment,
        coalesce(sum(rows) filter (where table_name = 'interest_state'), 0) as users_known
    from base.loaded_partitions
    where table_name in ('interest_series', 'interest_state', 'shift_signals', 'shift_alerts')
    group by day, segment
),

active as (
    select
        day,
        segment,
        count(distinct user_id) as users_active
    from base.interest_series
    group by day, segment
),

signals as (
    select
        day,
        segment,
        count(*) as users_watched,
        quantile_cont(change_rate, 0.1) as change_rate_p10,
        quantile_cont(change_rate, 0.5) as change_rate_p50,
        quantile_cont(change_rate, 0.9) as change_rate_p90,
        quantile_cont(interest_gap, 0.1) as interest_gap_p10,
        quantile_cont(interest_gap, 0.5) as interest_gap_p50,
        quantile_cont(interest_gap, 0.9) as interest_gap_p90,
        quantile_cont(distribution_distance, 0.1) as distribution_distance_p10,
        quantile_cont(distribution_distance, 0.5) as distribution_distance_p50,
        quantile_cont(distribution_distance, 0.9) as distribution_distance_p90,
        round(favg(churn_probability), 9) as churn_probability_mean
    from base.shift_signals
    group by day, segment
),

alerts as (
    select
        day,
        segment,
        count(*) filter (where status = 'opened') as alerts_opened,
        count(*) filter (where status = 'continued') as alerts_continued,
        count(*) filter (where status = 'closed') as alerts_closed,
        count(*) filter (where status != 'closed' and kind = 'switch') as alerts_switch,
        count(*) filter (where status != 'closed' and kind = 'surge') as alerts_surge,
        count(*) filter (where status != 'closed' and kind = 'fade') as alerts_fade,
        count(*) filter (where status != 'closed' and kind = 'return') as alerts_return,
        count(*) filter (where status != 'closed' and kind = 'churn_risk') as alerts_churn_risk,
        count(*) filter (where status != 'closed' and severity = 'low') as alerts_low,
        count(*) filter (where status != 'closed' and severity = 'medium') as alerts_medium,
        count(*) filter (where status != 'closed' and severity = 'high') as alerts_high
    from base.shift_alerts
    group by day, segment
)

select
    partitions.day,
    partitions.segment,
    partitions.users_known,
    coalesce(active.users_active, 0) as users_active,
    coalesce(signals.users_watched, 0) as users_watched,
    coalesce(alerts.alerts_opened, 0) as alerts_opened,
    coalesce(alerts.alerts_continued, 0) as alerts_continued,
    coalesce(alerts.alerts_closed, 0) as alerts_closed,
    coalesce(alerts.alerts_switch, 0) as alerts_switch,
    coalesce(alerts.alerts_surge, 0) as alerts_surge,
    coalesce(alerts.alerts_fade, 0) as alerts_fade,
    coalesce(alerts.alerts_return, 0) as alerts_return,
    coalesce(alerts.alerts_churn_risk, 0) as alerts_churn_risk,
    coalesce(alerts.alerts_low, 0) as alerts_low,
    coalesce(alerts.alerts_medium, 0) as alerts_medium,
    coalesce(alerts.alerts_high, 0) as alerts_high,
    signals.change_rate_p10,
    signals.change_rate_p50,
    signals.change_rate_p90,
    signals.interest_gap_p10,
    signals.interest_gap_p50,
    signals.interest_gap_p90,
    signals.distribution_distance_p10,
    signals.distribution_distance_p50,
    signals.distribution_distance_p90,
    signals.churn_probability_mean
from partitions
left join active on partitions.day = active.day and partitions.segment = active.segment
left join signals on partitions.day = signals.day and partitions.segment = signals.segment
left join alerts on partitions.day = alerts.day and partitions.segment = alerts.segment
