"""May it ship: a policy's rules judged on kept results, with yes, no, or "these data are inconclusive"."""
