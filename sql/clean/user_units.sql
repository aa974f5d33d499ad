-- Which delivered categories, or items where none is delivered, each user met: what co-occurrence is learned from.
select
    user_id,
    coalesce(category, item_id) as unit,
    count(*) as events
from parsed
where reason is null
group by user_id, coalesce(category, item_id)
order by user_id, unit
