"""What fine-tuning gained and forgot: at the terminal, as Markdown, as JSON and in a notebook; each made from comparisons alone."""
