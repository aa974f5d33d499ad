-- Outcomes of the alerts whose horizon ended on the day.
select
    day,
    segment,
    count(*) filter (where confirmed is not null) as alerts_judged,
    count(*) filter (where confirmed) as alerts_confirmed,
    count(*) filter (where confirmed) / nullif(count(*) filter (where confirmed is not null), 0) as confirmed_share,
    round(favg(log_likelihood_gain) filter (where confirmed is not null), 9) as log_likelihood_gain_mean
from base.alert_outcomes
group by day, segment
