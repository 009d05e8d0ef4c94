"""Two runs item by item: what changed, how surely, and how several systems rank."""
