-- Clean events of the requested partitions, with the category that their item, unit or text has on their day.
select
    accepted.day,
    accepted.segment,
    accepted.event_id,
    accepted.user_id,
    accepted.item_id,
    case
        when rules.category_kind = 'delivered' then coalesce(accepted.category, 'uncategorised')
        else coalesce(known_categories.category, text_categories.category, 'uncategorised')
    end as category,
    accepted.behavior,
    accepted.event_ts,
    accepted.quantity,
    accepted.price,
    accepted.rating,
    accepted.text,
    rules.source,
    accepted.source_file,
    accepted.source_row
from accepted
cross join rules
left join set_rejections
    on accepted.source_file = set_rejections.source_file and accepted.source_row = set_rejections.source_row
left join known_categories
    on
        known_categories.unit = case
            when rules.category_kind = 'cooccurrence' then coalesce(accepted.category, accepted.item_id)
            else accepted.item_id
        end
        and accepted.day >= known_categories.from_day
left join text_categories
    on accepted.text = text_categories.text
where set_rejections.source_row is null
order by accepted.day, accepted.segment, accepted.event_id
