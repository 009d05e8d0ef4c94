"""What is shown: leaderboards, comparisons and gate decisions as text, tables, Markdown, pages, CSV, JSON and JUnit's XML.

In: what `compare` and `gate` computed from results folders. Out: text; nothing is computed here that decides anything.
A report is one file, found by name (`@report`, see `base`).
"""
