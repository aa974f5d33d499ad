"""One raw row to a clean event or a rejection: values, time zones, ids, segments."""
