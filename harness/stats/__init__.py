"""Statistics of scores: intervals, paired tests, multiple testing, power and ranks.

In: per-item sufficient statistics, arrays [rows, statistics], and a score of their sum. Out: intervals, p-values, effect sizes, verdicts
and ranks. Nothing here imports torch or reads files.
"""
