-- Events of each combination of item and text: text categories are fitted on them.
select
    item_id,
    text,
    count(*) as events
from parsed
where reason is null and text is not null
group by item_id, text
order by item_id, text
