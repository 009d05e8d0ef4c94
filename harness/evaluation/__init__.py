"""From options to results: what a run asks, how its answers are scored, and what it records."""
