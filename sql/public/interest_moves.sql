-- Who moves from where to where: of the users who left one category the share who came to another. A move of too few
-- users is not listed, and the share is shown only where those who went and those who did not are many.
select
    day,
    segment,
    antecedent[6:] as from_category,
    consequent[6:] as to_category,
    n_users as users,
    case
        when n_antecedent - n_users >= getvariable('minimum_users') then confidence
    end as share_of_leavers,
    case
        when n_antecedent - n_users >= getvariable('minimum_users') then lift
    end as lift
from base.interest_moves
where
    antecedent like 'fell:%'
    and antecedent_items = 1
    and consequent like 'rose:%'
    and n_users >= getvariable('minimum_users')
