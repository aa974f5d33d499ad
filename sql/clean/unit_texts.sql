-- Events of each combination of raw category, or item where there is none, and text: groups are named by them.
select
    coalesce(category, item_id) as unit,
    text,
    count(*) as events
from parsed
where reason is null and text is not null
group by coalesce(category, item_id), text
order by unit, text
