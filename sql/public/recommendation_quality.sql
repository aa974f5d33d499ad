-- Outcomes of the recommendations of a day, by policy. A rate is a number of users over a number of users: it is shown
-- only where those who did and those who did not are many.
with shown as (
    select
        *,
        least(round(users * click_rate), round(users * (1 - click_rate))) as click_minority,
        least(round(users * purchase_rate), round(users * (1 - purchase_rate))) as purchase_minority
    from base.recommendation_outcomes
    where users >= getvariable('minimum_users')
)

select
    outcomes.day,
    outcomes.segment,
    outcomes.policy,
    outcomes.horizon_days,
    outcomes.k,
    shown.users,
    shown.recall_at_k,
    shown.ndcg_at_k,
    shown.coverage,
    shown.novelty,
    case when shown.click_minority >= getvariable('minimum_users') then shown.click_rate end as click_rate,
    case when shown.purchase_minority >= getvariable('minimum_users') then shown.purchase_rate end as purchase_rate,
    shown.users is null as suppressed
from base.recommendation_outcomes as outcomes
left join shown
    on
        outcomes.day = shown.day
        and outcomes.segment = shown.segment
        and outcomes.policy = shown.policy
