"""The engine against lm-eval on the same work; see `__main__`."""
