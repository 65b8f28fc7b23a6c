"""Ranker, policy and estimators: torch and numpy only."""
