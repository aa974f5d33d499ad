-- Bursts of events that no person produces, counted without duplicates. Only users above the lower limit can have one.
with busy_users as (
    select
        accepted.day,
        accepted.segment,
        accepted.user_id
    from accepted
    group by accepted.day, accepted.segment, accepted.user_id
    having count(*) > (select least(rules.events_per_minute, rules.events_per_day) from rules)
),

busy_rows as (
    select
        accepted.day,
        accepted.segment,
        accepted.user_id,
        accepted.source_file,
        accepted.source_row,
        date_trunc('minute', accepted.event_ts) as event_minute
    from accepted
    inner join busy_users
        on
            accepted.user_id = busy_users.user_id
            and accepted.day = busy_users.day
            and accepted.segment = busy_users.segment
    left join duplicates
        on accepted.source_row = duplicates.source_row and accepted.source_file = duplicates.source_file
    where duplicates.source_row is null
),

counted as (
    select
        day,
        source_file,
        source_row,
        event_minute,
        count(*) over (partition by day, segment, user_id) as events_of_day,
        count(*) over (partition by day, segment, user_id, event_minute) as events_of_minute
    from busy_rows
)

select
    counted.source_file,
    counted.source_row,
    'bot_burst' as reason,
    case
        when counted.events_of_day > rules.events_per_day
            then
                cast(counted.events_of_day as varchar) || ' events of the user on ' || cast(counted.day as varchar)
                || ', at most ' || cast(rules.events_per_day as varchar)
        else
            cast(counted.events_of_minute as varchar) || ' events of the user in the minute '
            || substring(cast(counted.event_minute as varchar), 1, 16) || ' UTC, at most '
            || cast(rules.events_per_minute as varchar)
    end as detail
from counted
cross join rules
where counted.events_of_day > rules.events_per_day or counted.events_of_minute > rules.events_per_minute
