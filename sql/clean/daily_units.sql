-- Users of each raw category, or item where there is none, by landing folder: later units join groups by them.
select
    folder_day,
    user_id,
    coalesce(category, item_id) as unit
from parsed
where reason is null
group by folder_day, user_id, coalesce(category, item_id)
order by folder_day, user_id, unit
