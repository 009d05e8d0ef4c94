"""Storage: cached responses (SQLite), runs (JSON), samples (JSON lines) and statistics (JSON).

In: responses as they arrive, and finished runs. Out: the same, after their digests were verified.
"""
