"""Tasks: YAML files with data, prompt templates, answer form and metrics.

In: task and group files, and rows of datasets. Out: items, and the prompts and targets that templates make of them.
"""
