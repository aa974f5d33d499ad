"""Candidate generators, their blend, and the pipeline that makes a day's recommendations."""
