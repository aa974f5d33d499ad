-- One row per alert and day, with its category changes as text and whether later events confirmed it.
with changes as (
    select
        *,
        list_transform(
            rising,
            lambda c: format('{} {:.0f} % → {:.0f} %', c['category'], 100 * c['share_before'], 100 * c['share_after'])
        ) as rising_words,
        list_transform(
            falling,
            lambda c: format('{} {:.0f} % → {:.0f} %', c['category'], 100 * c['share_before'], 100 * c['share_after'])
        ) as falling_words
    from base.shift_alerts
),

outcomes as (
    select
        segment,
        alert_id,
        any_value(confirmed) as confirmed,
        any_value(log_likelihood_gain) as log_likelihood_gain
    from base.alert_outcomes
    group by segment, alert_id
)

select
    changes.day,
    changes.segment,
    changes.alert_id,
    changes.user_id,
    changes.status,
    changes.kind,
    changes.severity,
    changes.magnitude,
    changes.confidence,
    changes.p_value,
    changes.q_value,
    changes.onset_day,
    changes.rising[1]['category'] as top_rising,
    changes.falling[1]['category'] as top_falling,
    array_to_string(changes.rising_words, '; ') as rising_text,
    array_to_string(changes.falling_words, '; ') as falling_text,
    changes.platform_share,
    changes.explanation,
    changes.detector,
    changes.model_version,
    outcomes.confirmed,
    outcomes.log_likelihood_gain,
    changes.magnitude_quantile,
    changes.first_onset_day
from changes
left join outcomes on changes.segment = outcomes.segment and changes.alert_id = outcomes.alert_id
