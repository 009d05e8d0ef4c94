"""Errors of the system, of libraries and of plug-ins, as messages that the user can act on."""

from __future__ import annotations

import errno

from harness.errors import HarnessError, InputError
from harness.util.libraries import missing_library
from harness.util.plugins import failed_at

_LONGEST_NAME = 300
_SURROUNDINGS = {
    errno.EACCES: "Change the permissions, or name another place.",
    errno.EPERM: "Change the permissions, or name another place.",
    errno.EROFS: "That file system is read-only: name another place.",
    errno.ENOSPC: "The disk is full: free some space and run the same command again; finished responses are saved.",
    errno.EDQUOT: "Your disk quota is used up: free some space and run the same command again; finished responses are saved.",
    errno.ENAMETOOLONG: "Give a shorter name.",
    errno.ENOTDIR: "A part of that path is a file, not a folder.",
    errno.EISDIR: "That is a folder; name a file.",
    errno.ELOOP: "Symbolic links there lead in a circle.",
    errno.EIO: "The disk or the network drive failed: check it and run the same command again.",
    errno.EMFILE: "Too many files are open: raise the limit (`ulimit -n`).",
}
"""Errors of the file system that the user can act on, with what to do; any other is an internal error."""


def meant_for_users(error: Exception) -> HarnessError | None:
    """The error as a message that the user can act on; None for an internal error."""
    if isinstance(error, HarnessError):
        return error
    if (missing := missing_library(error)) is not None:
        return missing
    if isinstance(error, OSError) and error.filename and error.errno in _SURROUNDINGS:
        return InputError(f"{str(error.filename)[:_LONGEST_NAME]}: {error.strerror}.", _SURROUNDINGS[error.errno])
    if isinstance(error, RecursionError):
        return InputError("A file is nested too deeply to be read.", "Check configuration files, policies and headers of weight files.")
    if isinstance(error, MemoryError):
        return HarnessError(
            f"Out of memory on this machine{f': {error}' if str(error) else ''}.", "Lower --batch-tokens, or choose a smaller model."
        )
    if place := failed_at(error):
        words = " ".join(str(error).split())
        return InputError(
            f"The plug-in {place}: {type(error).__name__}{f': {words}' if words else ''}.",
            "Fix the plug-in; with HARNESS_DEBUG=1 the traceback is printed. Finished responses are saved.",
        )
    return None
