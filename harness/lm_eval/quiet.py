"""Keeps what lm-eval prints while it builds and scores tasks from the user's terminal."""

from __future__ import annotations

import contextlib
import io
import logging
import random
import warnings
from collections.abc import Iterator

import numpy as np


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, prints, warnings or log lines of lm-eval and the libraries it calls; errors are raised as ever."""
    loggers = [logging.getLogger(name) for name in ("lm_eval", "datasets", "absl")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    nowhere = io.StringIO()
    try:
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def lm_eval_seeds() -> Iterator[None]:
    """Python's and numpy's global generators as lm-eval seeds them before it builds tasks (0 and 1234), put back afterwards."""
    before, numpy_before = random.getstate(), np.random.get_state()
    random.seed(0)
    np.random.seed(1234)
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(numpy_before)
