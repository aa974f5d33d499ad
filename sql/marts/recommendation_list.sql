-- Every recommendation, with the attributes of its item and the kind of the alert that caused it.
with alert_kinds as (
    select
        day,
        segment,
        alert_id,
        any_value(kind) as alert_kind
    from base.shift_alerts
    group by day, segment, alert_id
)

select
    lists.day,
    lists.segment,
    lists.user_id,
    lists.rank,
    lists.item_id,
    items.category,
    items.price,
    items.popularity,
    lists.score,
    lists.source,
    lists.reason,
    lists.alert_id,
    alert_kinds.alert_kind,
    lists.policy,
    lists.propensity
from base.recommendations as lists
left join base.item_features as items
    on
        lists.day = items.day
        and lists.segment = items.segment
        and lists.item_id = items.item_id
left join alert_kinds
    on
        lists.day = alert_kinds.day
        and lists.segment = alert_kinds.segment
        and lists.alert_id = alert_kinds.alert_id
