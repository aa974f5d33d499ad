"""Turn a raw row into an accepted or a rejected one: values, time zones, ids, segments."""
