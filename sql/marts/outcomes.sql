-- Outcomes of the alerts whose horizon ended on the day; churn warnings, which have no likelihood, apart from shifts.
select
    day,
    segment,
    count(*) filter (where log_likelihood_gain is not null) as alerts_judged,
    count(*) filter (where confirmed and log_likelihood_gain is not null) as alerts_confirmed,
    count(*) filter (where confirmed and log_likelihood_gain is not null)
    / nullif(count(*) filter (where log_likelihood_gain is not null), 0) as confirmed_share,
    round(favg(log_likelihood_gain), 9) as log_likelihood_gain_mean,
    count(*) filter (where confirmed is not null and log_likelihood_gain is null) as churn_warnings_evaluated,
    count(*) filter (where confirmed and log_likelihood_gain is null) as churn_warnings_confirmed
from base.alert_outcomes
group by day, segment
