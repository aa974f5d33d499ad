"""Which policy serves a user, and what is learned from outcomes: assignment, bandits, exploration."""
