"""Messages about alerts, and their delivery to a webhook."""
