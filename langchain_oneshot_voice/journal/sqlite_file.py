"""The file of a journal in SQLite: made for its owner alone, and watched while it is open.

SQLite goes on writing to a file that was deleted or replaced, and says nothing: what it writes then
is found by nobody. The same goes for the two files beside it. The `-wal` file holds the latest
commits, and the locks by which processes take turns are in the `-shm` file: processes that have
different ones overwrite each other's commits.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from contextlib import suppress
from pathlib import Path

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.journal.records import JournalUnavailableError
from langchain_oneshot_voice.wording import FileFault

_Identity = tuple[int, int] | None
"""Device and number of a file; `None` if there is none."""

_MAKING = threading.Lock()

if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=lambda: globals().update(_MAKING=threading.Lock()))


class SQLiteFile:
    """One file, from the first time that it is opened.

    A file that is not the first one is refused for good: it knows nothing of what this process has
    signed. When the first one is back, it can be used again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._first: _Identity = None
        self._beside: dict[str, _Identity] = {}
        self._writable: dict[Path, FileFault] = {}

    def make(self) -> None:
        """Make the file, with mode 0600, unless there is one.

        Raises:
            OSError: it can't be made.
            JournalUnavailableError: the one that was opened before is not there any more.
        """
        self._beside, self._writable = {}, {}
        if self._first is not None:
            self.check(writing=False)
            return
        target = os.path.realpath(self.path)  # a link to nothing is a link to a new file
        Path(target).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Never open a file that is there: by POSIX, closing it again would drop the locks that
        # this process has on it by another connection, and other processes would pass them.
        with _MAKING, suppress(FileExistsError):
            # SQLite gives its -wal and -shm files the mode of the file itself.
            os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        mode = Path(target).stat().st_mode
        if not stat.S_ISREG(mode):
            kind = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
            raise OSError(kind, os.strerror(kind), str(self.path))

    def opened(self) -> None:
        """Note what is to stay as it is from now on.

        Raises:
            JournalUnavailableError: the file was taken away meanwhile.
        """
        if self._first is None:
            # Not before: to open a file of a container's image makes another one of it.
            self._first = _identity(self.path)
        if self._first is None:
            raise _lost("gone", self.path)
        self.check(writing=False)
        target = os.path.realpath(self.path)
        self._beside = {target + end: _identity(target + end) for end in ("-wal", "-shm")}
        places: dict[Path, FileFault] = {
            self.path: "file_read_only",
            Path(target).parent: "folder_read_only",
        }
        # What could not be written before is no change, and SQLite may do without it.
        self._writable = {p: fault for p, fault in places.items() if os.access(p, os.W_OK)}

    def check(self, *, writing: bool) -> None:
        """Raise if the file is not what it was; it takes some microseconds.

        Raises:
            JournalUnavailableError: it was deleted, moved, replaced, or made read-only.
        """
        if self._first is None:
            return
        found = _identity(self.path)
        if found != self._first:
            raise _lost("replaced" if found else "gone", self.path)
        for name, known in self._beside.items():
            if _identity(name) != known:
                raise _lost("log", name)
        if writing:
            for place, fault in self._writable.items():
                if not os.access(place, os.W_OK):
                    raise _lost(fault, place)


def _identity(path: str | Path) -> _Identity:
    try:
        found = os.stat(path)  # noqa: PTH116 - a third of the time
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _lost(fault: FileFault, path: str | Path) -> JournalUnavailableError:
    return JournalUnavailableError(wording.journal_file_fault(fault, str(path)))
