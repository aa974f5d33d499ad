-- Every open alert of a day, with what was last said about it on a day with news.
with opened as (
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
    from base.open_alerts
),

news as (
    select
        opened.day,
        opened.segment,
        opened.user_id,
        max(alerts.day) as news_day,
        arg_max(alerts.severity, alerts.day) as severity,
        arg_max(alerts.explanation, alerts.day) as explanation
    from opened
    inner join base.shift_alerts as alerts
        on
            opened.segment = alerts.segment
            and opened.alert_id = alerts.alert_id
            and opened.day >= alerts.day
    group by opened.day, opened.segment, opened.user_id
)

select
    opened.day,
    opened.segment,
    opened.user_id,
    opened.alert_id,
    opened.kind,
    opened.onset_day,
    opened.opened_day,
    opened.day - opened.opened_day as days_open,
    opened.confidence,
    array_to_string(opened.rising_words, '; ') as rising_text,
    array_to_string(opened.falling_words, '; ') as falling_text,
    opened.churn_alert_id,
    opened.first_onset_day,
    news.news_day,
    news.severity,
    news.explanation
from opened
left join news
    on
        opened.day = news.day
        and opened.segment = news.segment
        and opened.user_id = news.user_id
