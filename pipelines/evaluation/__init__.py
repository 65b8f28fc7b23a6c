"""Test, then train: a log walked through hour by hour, each hour predicted by models that had not seen it."""
