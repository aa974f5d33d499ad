-- Texts of items that the category model does not know: it predicts their category from the text.
select distinct accepted.text
from accepted
left join known_categories
    on accepted.item_id = known_categories.unit
cross join rules
where rules.category_kind = 'text' and known_categories.unit is null and accepted.text is not null
