-- Bursts that no person makes, counted after duplicates. Only users busy enough for either limit are looked at.
with single as (
    select
        accepted.day,
        accepted.segment,
        accepted.user_id,
        accepted.source_file,
        accepted.source_row,
        date_trunc('minute', accepted.event_ts) as event_minute
    from accepted
    left join duplicates
        on accepted.source_file = duplicates.source_file and accepted.source_row = duplicates.source_row
    where duplicates.source_row is null
),

busy_days as (
    select
        single.day,
        single.segment,
        single.user_id,
        count(*) as events
    from single
    cross join rules
    group by single.day, single.segment, single.user_id, rules.events_per_minute, rules.events_per_day
    having count(*) > rules.events_per_minute or count(*) > rules.events_per_day
),

busy_rows as (
    select
        single.day,
        single.segment,
        single.user_id,
        single.source_file,
        single.source_row,
        single.event_minute,
        busy_days.events as events_of_day
    from single
    inner join busy_days
        on
            single.day = busy_days.day
            and single.segment = busy_days.segment
            and single.user_id = busy_days.user_id
),

busy_minutes as (
    select
        day,
        segment,
        user_id,
        event_minute,
        count(*) as events_of_minute
    from busy_rows
    group by day, segment, user_id, event_minute
)

select
    busy_rows.source_file,
    busy_rows.source_row,
    'bot_burst' as reason,
    case
        when busy_rows.events_of_day > rules.events_per_day
            then
                cast(busy_rows.events_of_day as varchar) || ' events of the user on ' || cast(busy_rows.day as varchar)
                || ', at most ' || cast(rules.events_per_day as varchar)
        else
            cast(busy_minutes.events_of_minute as varchar) || ' events of the user in the minute '
            || substring(cast(busy_rows.event_minute as varchar), 1, 16) || ' UTC, at most '
            || cast(rules.events_per_minute as varchar)
    end as detail
from busy_rows
inner join busy_minutes
    on
        busy_rows.day = busy_minutes.day
        and busy_rows.segment = busy_minutes.segment
        and busy_rows.user_id = busy_minutes.user_id
        and busy_rows.event_minute = busy_minutes.event_minute
cross join rules
where busy_rows.events_of_day > rules.events_per_day or busy_minutes.events_of_minute > rules.events_per_minute
