"""What tuning forgot, as a table at the terminal, as Markdown and as JSON; each made from comparisons alone."""
