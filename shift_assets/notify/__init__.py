"""Which alarms are told, and in which words; pure, never sends anything."""
