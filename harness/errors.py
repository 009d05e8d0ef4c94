"""One small tree of errors. Each message says what is wrong, where, and what to do next."""

from __future__ import annotations


class HarnessError(Exception):
    """A failure whose message is meant for the user: printed without a traceback.

    Args:
        what: what is wrong and where, one sentence.
        remedy: what to do next, one sentence; empty where there is nothing to add.
    """

    exit_code = 1

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}\n{self.remedy}" if self.remedy else self.what


class InputError(HarnessError):
    """Something the user gave cannot be used: a name, a file, an option, a folder. Exit code 2."""

    exit_code = 2


class TaskError(InputError):
    """A task file is wrong, or does not fit its data."""


class DataError(InputError):
    """A dataset, config, split or column is missing or unreadable."""


class UnavailableError(DataError):
    """A dataset may be right, but cannot be had here: the hub does not answer or asks for a login."""


class ModelError(InputError):
    """A model cannot be found or loaded, or what was loaded is not what the checkpoint holds."""


class AdapterError(InputError):
    """An adapter cannot be found, or does not fit the base model."""


class MetricError(InputError):
    """A metric is unknown, wrongly configured, or cannot judge this kind of answer."""


class ContentError(InputError):
    """A file does not hold what it should: it was changed while it was in use, or is not what the hub's cache calls it."""


class StorageError(InputError):
    """Results or responses cannot be read or written."""


class NumericError(HarnessError):
    """The model produced something that is not a number; scores would be meaningless."""


class BrokenModelError(NumericError, ModelError):
    """A model gives no numbers from its first tokens on: told before anything is computed."""
