"""Where a journal is: what is seen to be wrong with an address, and no password in any text."""

import asyncio
import importlib.util
import logging
import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import test_journal_file
from pydantic import SecretStr

from langchain_oneshot_voice import ConfigurationError, VoiceCaller
from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.journal import CallJournal, JournalUnavailableError, check_address
from langchain_oneshot_voice.journal.addresses import ENVIRONMENT
from langchain_oneshot_voice.oneshot.wallet import WalletKey

_anybodys_folder = test_journal_file._anybodys_folder
workers = test_journal_file.workers

SECRET = "hunter2xyz"  # noqa: S105 - it opens nothing
"""A password, or the part of one that no text may show any part of."""

NOWHERE = "127.0.0.1:1"

WRITTEN_RIGHT = [
    f"postgresql://u:{SECRET}@{NOWHERE}/d",
    f"postgresql://u:a%40{SECRET}@{NOWHERE}/d",
    f"postgresql://u:{SECRET}%25%3A%2F@{NOWHERE}/d",
    f"postgresql://u:a/{SECRET}@{NOWHERE}/d",
    f"postgresql://u:a:{SECRET}@{NOWHERE}/d",
    f"postgresql://u:a%{SECRET}@{NOWHERE}/d",
    f"postgresql://u:a#{SECRET}@{NOWHERE}/d",
    f"postgresql+psycopg://:{SECRET}@{NOWHERE}",
    f"postgres://{NOWHERE}/d?user=u&password={SECRET}",
    f"postgres://{NOWHERE}/d?user=u&passfile={SECRET}&sslpassword={SECRET}",
    f"postgres://{NOWHERE}/d?user=u&{SECRET[:4]}=1&options=-cmy.secret%3D{SECRET}",
    f"postgres://{NOWHERE}/d?user=u&sslmode={SECRET}",
    f"postgres://{NOWHERE}/d?connect_timeout={SECRET}",
    f"postgres://{NOWHERE}/d?password={SECRET}%00x",
]
WRITTEN_WRONG = [
    f"postgresql://u:a@{SECRET}@h/d",
    f"postgresql://u:{SECRET}@a@h/d",
    f"postgresql://u:a@b/{SECRET}@h/d",
    f"postgresql://u:a@b?x={SECRET}@h/d",
    f"postgresql://u:a?{SECRET}@h/d",
    f"postgresql://u:{SECRET}",
    f"postgresql://us/er:{SECRET}@h/d",
    f"postgresql://h:5432/d?password=a@{SECRET}",
    f"postgresql://h/d?password=a@{SECRET}",
    f"postgresql://u:{SECRET}@h:{SECRET}/d",
    f"postgresql:/u:{SECRET}@h/d",
    f"postgresql:u:{SECRET}@h/d",
    f"://u:{SECRET}@h/d",
    f"sqlite://u:{SECRET}@h/d",
    f"host=h user=u password={SECRET}",
    "sqlite:///file:calls.sqlite?mode=ro&uri=true",
]


def parts(secret: str) -> set[str]:
    """Every part of a secret that is long enough to be told from other text."""
    return {secret[i : i + 4] for i in range(len(secret) - 3)}


def all_that_an_error_says(error: BaseException, *, and_frames: bool = False) -> str:
    """Its text, its repr, its traceback with all that led to it; and what the frames hold."""
    told = traceback.TracebackException.from_exception(error, capture_locals=and_frames)
    said = [repr(error), "".join(traceback.format_exception(error)), *told.format()]
    led: BaseException | None = error
    while led is not None:  # a context is not printed after `from None`, and is there
        said.append(repr(led))
        led = led.__cause__ or led.__context__
    return "\n".join(said)


def shown_of(secret: str, text: str) -> set[str]:
    """The parts of a secret that a text shows."""
    return {part for part in parts(secret) if part in text}


@pytest.mark.parametrize("url", WRITTEN_RIGHT)
async def test_no_part_of_a_password_is_shown_by_a_journal_that_can_not_connect(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Wherever it stands in the URL, and however it is spelled."""
    caplog.set_level(logging.DEBUG)
    journal = CallJournal(url)
    store = journal._store
    shown = [repr(journal), journal.url_for_display, repr(store.url), repr(store.engine)]
    try:
        await journal.read("k")
    except JournalUnavailableError as failure:
        shown.append(all_that_an_error_says(failure, and_frames=True))
    assert "127.0.0.1" in shown[-1]
    assert shown_of(SECRET, "\n".join([*shown, caplog.text]).replace(url, "")) == set()
    await journal.aclose()


@pytest.mark.parametrize("url", WRITTEN_WRONG)
def test_a_url_that_can_be_read_in_two_ways_is_refused_and_not_shown(url: str) -> None:
    """SQLAlchemy would take a part of the password for the host, and name it in errors."""
    secret = "file:" if "file:" in url else SECRET
    with pytest.raises(JournalUnavailableError, match=r"URL can't be read.* @ as %40") as unread:
        CallJournal(url)
    with pytest.raises(ConfigurationError, match="URL can't be read") as seen:
        check_address(url)
    for error in (unread.value, seen.value):
        assert shown_of(secret, all_that_an_error_says(error)) == set()


@pytest.mark.parametrize("url", ["mysql://u:hunter2xyz@h/d", "redis://h?x=hunter2xyz"])
def test_another_database_is_refused_at_once(url: str) -> None:
    """Its name is shown, and nothing else of the URL."""
    with pytest.raises(ConfigurationError, match=r"not in (mysql|redis)") as refused:
        check_address(url)
    assert shown_of(SECRET, all_that_an_error_says(refused.value)) == set()


def test_the_command_line_shows_no_part_of_a_password(
    workers: test_journal_file.Workers,
) -> None:
    """Neither of a URL that can't be read, nor of one that leads nowhere."""
    for url in (WRITTEN_WRONG[0], WRITTEN_RIGHT[1]):
        ran = workers.run(
            "from langchain_oneshot_voice.cli import main; main()", "calls", **{ENVIRONMENT: url}
        )
        assert ran.returncode == 2
        assert "journal" in ran.stderr
        assert shown_of(SECRET, ran.stdout + ran.stderr) == set()


# What can be known before the journal is used


def test_postgresql_without_psycopg_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra to install."""
    check_address("postgresql://u:p@h/d")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "psycopg" else find(name)
    )
    with pytest.raises(ConfigurationError, match=r"langchain-oneshot-voice\[postgres\]") as told:
        check_address("postgresql://u:p@h/d")
    assert (told.value.code, told.value.charged) == ("journal_unavailable", "no")
    check_address("memory")


def test_a_path_that_can_be_used_is_and_nothing_is_made(tmp_path: Path) -> None:
    """A file, a folder that is to be made, a URL, memory."""
    (tmp_path / "there.sqlite").touch()
    for where in ("there.sqlite", "new.sqlite", "a/b/new.sqlite"):
        check_address(tmp_path / where)
        check_address(str(tmp_path / where))
        check_address(f"sqlite:///{tmp_path / where}")
    for where in ("memory", "sqlite://", "sqlite:///:memory:", "sqlite+pysqlite:///new.sqlite"):
        check_address(where)
    assert [file.name for file in tmp_path.iterdir()] == ["there.sqlite"]


def test_the_default_and_the_environment_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `address` takes them."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    check_address(None)
    check_address(None, sandbox_port=4402)
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    with pytest.raises(ConfigurationError, match="is not a file"):
        check_address(None)


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("file/calls.sqlite", "The folder .*file can't be created or written"),
        ("file/a/b/calls.sqlite", "The folder .*file/a/b can't be created or written"),
        (".", "is not a file"),
        ("pipe", "pipe is not a file"),
        ("x" * 300 + "/calls.sqlite", "can't be created or written"),
    ],
)
def test_a_path_that_can_not_be_used_is_named_at_once(
    tmp_path: Path, where: str, told: str
) -> None:
    """When the tool is made, and again when the journal is used."""
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / where
    with pytest.raises(ConfigurationError, match=told) as refused:
        check_address(path)
    assert "memory" in str(refused.value)
    journal = CallJournal(path)
    with pytest.raises(JournalUnavailableError, match="Can't open"):
        asyncio.run(journal.read("k"))
    asyncio.run(journal.aclose())


AS_SOMEBODY = """
import os, sys
from langchain_oneshot_voice.errors import ConfigurationError
from langchain_oneshot_voice.journal import check_address
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
for place in sys.argv[1:]:
    try:
        check_address(place)
    except ConfigurationError as error:
        print(error.reason.split(".sqlite")[-1].split(". ")[0], "sqlalchemy" in sys.modules)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="it has other permissions")
def test_what_may_not_be_written_is_told_at_once_without_a_database(anybodys_folder: Path) -> None:
    """A file, and a folder. No database package is imported for it."""
    file, folder = (anybodys_folder / name for name in ("calls.sqlite", "folder"))
    file.touch(mode=0o400)
    folder.mkdir(mode=0o500)
    places = [str(file), str(folder / "calls.sqlite"), str(folder / "new" / "calls.sqlite")]
    ran = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-c", AS_SOMEBODY, *places],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    folders = [f"The folder {path} can't be created" for path in (folder, folder / "new")]
    assert ran.stderr == ""
    assert [line.split(" or written")[0] for line in ran.stdout.splitlines()] == [
        " can't be written False",
        *folders,
    ]


async def test_what_is_shared_in_a_process_shows_no_password() -> None:
    """Callers that name one database share its journal, by a key that can be shown."""
    url = WRITTEN_RIGHT[0]
    callers = [VoiceCaller(WalletKey(SecretStr("0x" + "12" * 32)), journal=url) for _ in range(2)]
    one, other = [await ENGINE.acall(caller._open_journal) for caller in callers]
    assert one is other
    assert shown_of(SECRET, f"{ENGINE._shared} {vars(ENGINE)}") == set()
