"""Runs, versions, releases, gates and reports: the data scientist's room."""
