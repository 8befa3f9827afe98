"""The file of an SQLite journal: created for its owner only, and checked while it is open.

If the file is deleted or replaced, SQLite keeps writing to the old one without an error, and the
data is lost. The two files beside it matter as much. The `-wal` file has the latest commits. The
`-shm` file has the locks between processes: processes with different `-shm` files overwrite each
other's commits.
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
"""Device and inode number of a file; `None` if it does not exist."""

_CREATING = threading.Lock()

if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=lambda: globals().update(_CREATING=threading.Lock()))


class SQLiteFile:
    """One file, identified when it is first opened.

    Another file at the same path is always refused, because it has no record of what this process
    has signed. The first file is accepted again if it is put back.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._first: _Identity = None
        self._beside: dict[str, _Identity] = {}
        self._writable: dict[Path, FileFault] = {}

    def make(self) -> None:
        """Create the file with mode 0600, unless it exists.

        Raises:
            OSError: it can't be created.
            JournalUnavailableError: the file that was opened before no longer exists.
        """
        self._beside, self._writable = {}, {}
        if self._first is not None:
            self.check(writing=False)
            return
        target = os.path.realpath(self.path)  # a dangling link gets a new file
        Path(target).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Never open an existing file. In POSIX, closing it would release the locks that this
        # process holds on it through another connection.
        with _CREATING, suppress(FileExistsError):
            # SQLite creates the -wal and -shm files with the same mode.
            os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        mode = Path(target).stat().st_mode
        if not stat.S_ISREG(mode):
            kind = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
            raise OSError(kind, os.strerror(kind), str(self.path))

    def opened(self) -> None:
        """Remember the identity and the access of the files, for later checks.

        Raises:
            JournalUnavailableError: the file was removed meanwhile.
        """
        if self._first is None:
            # After opening: to open a file of a container image can replace it by a copy.
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
        # A place that was read-only at the start is not checked: SQLite could open the file anyway.
        self._writable = {p: fault for p, fault in places.items() if os.access(p, os.W_OK)}

    def check(self, *, writing: bool) -> None:
        """Check that the files are the same as before; takes some microseconds.

        Raises:
            JournalUnavailableError: a file was deleted, moved, replaced, or made read-only.
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
        found = os.stat(path)  # noqa: PTH116 - three times as fast as `Path.stat`
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _lost(fault: FileFault, path: str | Path) -> JournalUnavailableError:
    return JournalUnavailableError(wording.journal_file_fault(fault, str(path)))
