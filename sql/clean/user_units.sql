-- Events of each user with each raw category, or item where there is none: co-occurrence is fitted on them.
select
    user_id,
    coalesce(category, item_id) as unit,
    count(*) as events
from parsed
where reason is null
group by user_id, coalesce(category, item_id)
order by user_id, unit
