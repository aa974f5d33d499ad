-- How often each item was delivered with each text: what text categories are learned from.
select
    item_id,
    text,
    count(*) as events
from parsed
where reason is null and text is not null
group by item_id, text
order by item_id, text
