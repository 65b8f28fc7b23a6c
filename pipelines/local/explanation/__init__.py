"""From a scored row back to its causes: the draw, the features, the person's events, the release and what it learned from."""
