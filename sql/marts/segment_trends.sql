-- How a segment's interest of the day divides over the categories.
with categories as (
    select
        day,
        segment,
        category,
        count(distinct user_id) as users,
        round(fsum(score), 6) as score,
        round(fsum(amount), 6) as amount
    from base.interest_series
    group by day, segment, category
)

select
    day,
    segment,
    category,
    users,
    score,
    round(score / nullif(sum(score) over (partition by day, segment), 0), 9) as interest_share,
    amount
from categories
