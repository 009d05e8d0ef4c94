"""The tree of errors. Each message says what happened, where, and what to do.

HarnessError                  exit code 1
├── NumericError
│   └── BrokenModelError (also a ModelError, exit code 2)
└── InputError                exit code 2
    ├── TaskError
    ├── DataError
    │   └── UnavailableError
    ├── ModelError
    ├── AdapterError
    ├── MetricError
    ├── MissingLibraryError
    ├── ContentError
    └── StorageError
"""

from __future__ import annotations


class HarnessError(Exception):
    """A failure whose message is meant for the user: printed without a traceback.

    Args:
        what: what happened and where, one sentence.
        remedy: what to do, one sentence; may be empty.
    """

    exit_code = 1

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}\n{self.remedy}" if self.remedy else self.what


class InputError(HarnessError):
    """Invalid input: a name, a file, an option or a folder. Exit code 2."""

    exit_code = 2


class TaskError(InputError):
    """A task file is invalid, or does not fit its data."""


class DataError(InputError):
    """A dataset, config, split or column is missing or unreadable."""


class UnavailableError(DataError):
    """A dataset is not available here: the Hub does not answer, requires a login, or the local snapshot is incomplete."""


class ModelError(InputError):
    """A model cannot be found or loaded, or the loaded weights are not the checkpoint's."""


class AdapterError(InputError):
    """An adapter cannot be found, or does not fit the base model."""


class MetricError(InputError):
    """A metric is unknown, has invalid options, or cannot score this answer form."""


class MissingLibraryError(InputError):
    """An optional library is not installed."""


class ContentError(InputError):
    """The content of a file is not the expected one: it changed while it was in use, or does not match its name in the Hub's cache."""


class StorageError(InputError):
    """Results or responses cannot be read or written."""


class NumericError(HarnessError):
    """The model produced a value that is not finite; scores would be meaningless."""


class BrokenModelError(NumericError, ModelError):
    """The model's logits are not finite from the first tokens on; raised before anything is computed."""
