"""The Python API: what `harness.evaluate`, `compare`, `gate`, `tune` and `load_run` do.

Models, names and folders go in; objects with scores, tables and verdicts come out. They wrap the same runs, comparisons and decisions
that the command line prints, and write the same files. The room stands directly below the command line, because it calls every other.
"""
