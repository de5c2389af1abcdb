"""Scripts in the sandbox, at each level that this machine has: what they are given, and how they end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from secrets import token_hex

import pytest

from sandbox import Level, Limits, Ran, Sandbox, SandboxError, remove

ROOT = Path(__file__).resolve().parents[1]
LEVELS: tuple[Level, ...] = ("bubblewrap", "landlock", "rlimits")


@cache
def _box(level: Level) -> Sandbox | str:
    """A sandbox of this level, or why there is none."""
    try:
        sandbox = Sandbox(levels=(level,))
        assert sandbox.level == level
    except SandboxError as error:
        return str(error)
    return sandbox


def at(level: Level) -> Sandbox:
    found = _box(level)
    if isinstance(found, str):
        pytest.skip(f"this machine has no {found}")
    return found


async def python(sandbox: Sandbox, folder: Path, code: str, *arguments: str, limits: Limits | None = None) -> Ran:
    return await sandbox.run(["python3", "-c", code, *arguments], folder=folder, limits=limits)


_others: dict[Level, bool] = {}


async def owned_by_another(sandbox: Sandbox) -> bool:
    """Whether scripts have another user than we, as the files that they make tell; found out once for a level."""
    if sandbox.level not in _others:
        folder = Path(tempfile.mkdtemp())
        await python(sandbox, folder, "open('mine', 'w')")
        _others[sandbox.level] = os.stat(folder / "mine").st_uid != os.getuid()
        remove(folder)
    return _others[sandbox.level]


def running(mark: str) -> list[int]:
    """The processes that have this in their command line or their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            told = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
            if mark.encode() in told and int(path.name) != os.getpid():
                found.append(int(path.name))
    return found


async def ends(mark: str, tries: int = 100) -> bool:
    """Whether no such process is left, soon."""
    for _ in range(tries):
        if not running(mark):
            return True
        await asyncio.sleep(0.02)
    return False


async def until(there: Callable[[], bool]) -> None:
    for _ in range(1000):
        if there():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("what is waited for does not come")


def _exists(path: str) -> bool:
    return os.path.exists(path)


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder that every user can enter, other than pytest's, as root's scripts are not root."""
    folder = Path(tempfile.mkdtemp()).resolve()
    folder.chmod(0o755)
    yield folder
    remove(folder)


@pytest.fixture
def folder(base: Path) -> Path:
    (base / "work").mkdir()
    return base / "work"


@pytest.fixture(params=LEVELS)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    return at(request.param)


# What is chosen


def test_the_strongest_level_that_holds_is_taken_and_told_in_one_line() -> None:
    there = [level for level in LEVELS if not isinstance(_box(level), str)]
    sandbox = Sandbox()
    assert sandbox.level == there[0]
    assert sandbox.describe().startswith(f"{there[0]}: ")
    assert "\n" not in sandbox.describe()


def test_a_level_says_why_it_is_not_a_stronger_one() -> None:
    weak = Sandbox("off")
    assert weak.level == "rlimits"
    assert weak.describe().startswith("rlimits: limits, no isolation")


async def test_required_refuses_limits_alone(folder: Path) -> None:
    sandbox = Sandbox("required", levels=("rlimits",))
    with pytest.raises(SandboxError, match="required"):
        await python(sandbox, folder, "open('ran', 'w')")
    assert not (folder / "ran").exists()
    assert "refused" in sandbox.describe()


async def test_required_is_content_with_isolation(folder: Path) -> None:
    at("landlock")
    ran = await python(Sandbox("required", levels=("landlock", "rlimits")), folder, "print(1)")
    assert ran.stdout.text == "1\n"


async def test_the_level_is_found_within_a_running_loop_too() -> None:
    assert Sandbox(levels=("rlimits",)).level == "rlimits"


# What a script is given


async def test_a_script_runs_and_its_streams_and_exit_code_are_told(sandbox: Sandbox, folder: Path) -> None:
    ran = await sandbox.run(["sh", "-c", "cat; echo wrong >&2; exit 3"], folder=folder, stdin="äé\n".encode())
    assert (ran.exit_code, ran.stdout.text, ran.stderr.text, ran.fault) == (3, "äé\n", "wrong\n", "")
    assert (ran.stdout.size, ran.stdout.spill) == (5, b"")
    assert 0 < ran.seconds < 30


async def test_without_stdin_there_is_nothing_to_read(sandbox: Sandbox, folder: Path) -> None:
    ran = await python(sandbox, folder, "import sys; print(repr(sys.stdin.read()))")
    assert ran.stdout.text == "''\n"


async def test_streams_can_be_opened_by_their_names(sandbox: Sandbox, folder: Path) -> None:
    script = "cat /dev/stdin > /dev/stdout; echo b > /dev/stderr; echo c > /dev/null"
    ran = await sandbox.run(["bash", "-c", script], folder=folder, stdin=b"a\n")
    assert (ran.stdout.text, ran.stderr.text, ran.exit_code) == ("a\n", "b\n", 0)


async def test_the_environment_has_four_variables_and_those_that_are_given(
    sandbox: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKILL_AGENT_CANARY", "secret")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere")
    # `env` tells of no variables that a shell adds.
    ran = await sandbox.run(["env"], folder=folder, environment={"GIVEN": "a b", "LD_PRELOAD": ""})
    variables = dict(line.split("=", 1) for line in ran.stdout.text.splitlines())
    variables.pop("PWD", "")
    assert variables.keys() == {"PATH", "HOME", "LANG", "TMPDIR", "GIVEN", "LD_PRELOAD"}
    assert (variables["HOME"], variables["GIVEN"]) == (str(folder), "a b")


async def test_it_works_in_its_folder_and_may_write_there_and_to_temporary_files(
    sandbox: Sandbox, folder: Path
) -> None:
    (folder / "given.txt").write_text("given")
    code = (
        "import os, pathlib, tempfile\n"
        "pathlib.Path('made.txt').write_text(pathlib.Path('given.txt').read_text())\n"
        "pathlib.Path('given.txt').write_text('changed')\n"
        "os.makedirs('a/b'); os.rename('made.txt', 'a/b/made.txt')\n"
        "with tempfile.NamedTemporaryFile() as file: print(os.getcwd(), os.path.dirname(file.name))\n"
        "pathlib.Path(tempfile.gettempdir(), 'left').touch()"
    )
    ran = await python(sandbox, folder, code)
    assert ran.stderr.text == ""
    assert (folder / "a" / "b" / "made.txt").read_text() == "given"
    assert (folder / "given.txt").read_text() == "changed"
    assert ran.stdout.text.split()[0] == str(folder)
    assert not _exists(f"{ran.stdout.text.split()[1]}/left")


async def test_what_a_service_adds_between_two_scripts_is_theirs(sandbox: Sandbox, folder: Path) -> None:
    await python(sandbox, folder, "import os; os.mkdir('sub')")
    (folder / "sub" / "new.txt").write_text("1")
    ran = await python(sandbox, folder, "open('sub/new.txt', 'a').write('2'); print(open('sub/new.txt').read())")
    assert ran.stdout.text == "12\n"


async def test_readable_folders_are_where_they_are_and_stay_as_they_are(
    sandbox: Sandbox, base: Path, folder: Path
) -> None:
    skill = base / "skill"
    (skill / "scripts").mkdir(parents=True)
    (skill / "scripts" / "helper.py").write_text("word = 'helped'")
    (skill / "scripts" / "main.py").write_text("import helper, sys; print(helper.word, *sys.argv[1:])")
    (base / "link").symlink_to("skill")
    for path in (skill, base / "link"):
        ran = await sandbox.run(["python3", f"{path}/scripts/main.py", "a"], folder=folder, readable=[path])
        assert (ran.stdout.text, ran.stderr.text) == ("helped a\n", "")
    write = await python(sandbox, folder, "open(__import__('sys').argv[1], 'w')", f"{skill}/new")
    assert write.exit_code == 1 or (sandbox.level == "rlimits" and not await owned_by_another(sandbox))


async def test_pipes_and_processes_work_as_in_a_shell(sandbox: Sandbox, folder: Path) -> None:
    ran = await sandbox.run(["bash", "-c", "yes | head -1; (exit 4) & wait $!; echo $?"], folder=folder)
    assert (ran.stdout.text, ran.stderr.text) == ("y\n4\n", "")


async def test_many_scripts_run_at_once_also_in_one_folder(sandbox: Sandbox, base: Path, folder: Path) -> None:
    folders = [folder, folder, *(base / str(number) for number in range(4))]
    for path in folders[2:]:
        path.mkdir()
    code = "import sys, subprocess; subprocess.run(['sleep', '0.05']); open(sys.argv[1], 'w'); print(sys.argv[1])"
    runs = [python(sandbox, path, code, str(number)) for number, path in enumerate(folders)]
    assert [ran.stdout.text for ran in await asyncio.gather(*runs)] == [f"{number}\n" for number in range(6)]


# What cannot be started


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], "no command"),
        (["no-such-program"], "'no-such-program' cannot be started: No such file"),
        (["./not-executable"], "cannot be started: Permission denied"),
        (["/"], "cannot be started"),
        (["echo", "a\0b"], "cannot be started: embedded null byte"),
        (["echo", "x" * 3_000_000], "cannot be started: Argument list too long"),
        (["echo", "\ud800"], "cannot be started"),
    ],
    ids=lambda value: ascii(value)[:24],
)
async def test_a_command_that_cannot_start_says_why(
    sandbox: Sandbox, folder: Path, command: list[str], words: str
) -> None:
    (folder / "not-executable").write_text("#!/bin/sh\n")
    with pytest.raises(SandboxError, match=words) as raised:
        await sandbox.run(command, folder=folder)
    assert "\n" not in str(raised.value)


async def test_folders_that_cannot_be_are_refused(sandbox: Sandbox, base: Path, folder: Path) -> None:
    (base / "file").touch()
    for where, words in ((base / "gone", "not there"), (base / "file", "not a folder")):
        with pytest.raises(SandboxError, match=words):
            await python(sandbox, where, "")
    (folder / "skill").mkdir()
    for path, words in ((folder / "skill", "in the working folder"), (base / "gone", "not there")):
        with pytest.raises(SandboxError, match=words):
            await sandbox.run(["true"], folder=folder, readable=[path])


async def closed(level: Level, folder: Path) -> Sandbox:
    """A sandbox, and a folder that is closed to its scripts' user."""
    if not await owned_by_another(at(level)):
        pytest.skip("only root's scripts have another user")
    os.chmod(folder, 0o700)
    return at(level)


async def test_without_isolation_a_folder_that_only_root_can_enter_is_refused_with_advice(
    base: Path, folder: Path
) -> None:
    sandbox = await closed("rlimits", base)
    with pytest.raises(SandboxError, match=f"cannot enter or read {base}: open it"):
        await python(sandbox, folder, "")


@pytest.mark.parametrize("level", LEVELS[:2])
async def test_with_isolation_scripts_work_below_a_folder_that_only_root_can_enter(
    level: Level, base: Path, folder: Path
) -> None:
    sandbox = await closed(level, base)
    (base / "readable").mkdir()
    for name in ("readable/file", "other"):
        (base / name).write_text("text\n")
        (base / name).chmod(0o666)
    script = f"cat {base}/readable/file; echo a > {folder}/new; cat new; cat {base}/other; chmod 777 {base}; id -u"
    ran = await sandbox.run(["sh", "-c", script], folder=folder, readable=[base / "readable"])
    assert ran.stdout.text.startswith("text\na\n")
    assert ran.stdout.text.split()[2:] != ["0"]
    assert ran.stderr.text.count("\n") == 2
    assert os.stat(base).st_mode & 0o777 == 0o700


@pytest.mark.parametrize("level", LEVELS)
async def test_what_only_root_can_read_is_passed_by_landlock_and_refused_otherwise(
    level: Level, base: Path, folder: Path
) -> None:
    sandbox = await closed(level, folder)
    (base / "skill").mkdir(mode=0o700)
    (base / "skill" / "file").write_text("text\n")
    run = sandbox.run(["cat", f"{base}/skill/file"], folder=folder, readable=[base / "skill"])
    if level == "landlock":
        assert (await run).stdout.text == "text\n"
    else:
        with pytest.raises(SandboxError, match=f"cannot enter or read {base}/skill: open it"):
            await run


# What a script writes


async def test_long_output_is_told_with_head_and_tail_and_its_beginning_is_kept(sandbox: Sandbox, folder: Path) -> None:
    limits = Limits(output_bytes=100, spill_bytes=1000)
    code = "import sys; sys.stdout.write('a' + 'é' * 1000 + 'z'); sys.stderr.write('short\\0\\n')"
    ran = await python(sandbox, folder, code, limits=limits)
    assert ran.stdout.text == "a" + "é" * 24 + "\n[… 1902 bytes are left out …]\n" + "é" * 24 + "z"
    assert ran.stdout.size == 2002
    assert ran.stdout.spill == ("a" + "é" * 500).encode()[:1000]
    assert (ran.stderr.text, ran.stderr.size) == ("short\n", 7)


async def test_bytes_that_are_no_text_are_replaced(sandbox: Sandbox, folder: Path) -> None:
    ran = await python(sandbox, folder, r"import os; os.write(1, b'a\xff\x00b')")
    assert ran.stdout.text == "a�b"


# How a script ends


@pytest.mark.parametrize(
    ("script", "code", "fault"),
    [
        ("kill -SEGV $$", 139, "it was ended by SIGSEGV"),
        ("kill -9 $$", 137, "it was ended by SIGKILL"),
        ("kill -TERM $$", 143, ""),
        ("exit 255", 255, ""),
    ],
)
async def test_an_end_by_a_signal_is_told_as_shells_do(
    sandbox: Sandbox, folder: Path, script: str, code: int, fault: str
) -> None:
    ran = await sandbox.run(["sh", "-c", script], folder=folder)
    assert (ran.exit_code, ran.fault) == (code, fault)


async def test_a_late_script_is_stopped_and_what_it_wrote_is_told(folder: Path) -> None:
    script = ["sh", "-c", "echo begun; exec sleep 600"]
    ran = await Sandbox().run(script, folder=folder, limits=Limits(seconds=1))
    assert (ran.fault, ran.exit_code) == ("it was stopped after 1 s", 137)
    assert ran.stdout.text == "begun\n"


def _open() -> list[str]:
    return sorted(os.listdir("/dev/fd"))


@pytest.mark.parametrize("begun", [False, True])
async def test_cancelling_leaves_no_process_no_descriptor_and_no_task(
    sandbox: Sandbox, folder: Path, begun: bool
) -> None:
    mark = token_hex(8)
    await python(sandbox, folder, "")  # what the loop opens for itself is open now
    before, tasks = _open(), asyncio.all_tasks()
    script = "trap '' TERM HUP INT; setsid sleep 600 & touch begun; sleep 600; :"
    for _ in range(3):
        run = asyncio.create_task(sandbox.run(["sh", "-c", script], folder=folder, environment={"MARK": mark}))
        await (until((folder / "begun").exists) if begun else asyncio.sleep(0.01))
        run.cancel()
        cancelled = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert time.monotonic() - cancelled < 10  # a second, on a machine that is not busy
        assert await ends(mark)
    assert _open() == before
    assert asyncio.all_tasks() == tasks


async def test_a_second_cancel_does_not_stop_the_cleaning(sandbox: Sandbox, folder: Path) -> None:
    mark = token_hex(8)
    script = "touch begun; sleep 600; :"
    run = asyncio.create_task(sandbox.run(["sh", "-c", script], folder=folder, environment={"MARK": mark}))
    await until((folder / "begun").exists)
    for _ in range(4):
        run.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await run
    assert await ends(mark)


DRIVER = """
import asyncio, sys
from pathlib import Path
from sandbox import Sandbox
folder, level, mark = sys.argv[1:]
script = "setsid sleep 600 & mktemp > temporary; touch begun; sleep 600; :"
run = Sandbox(levels=(level,)).run(["sh", "-c", script], folder=Path(folder), environment={"MARK": mark})
asyncio.run(run)
"""


@pytest.mark.parametrize("level", LEVELS)
async def test_scripts_end_with_a_service_that_is_killed(level: Level, folder: Path) -> None:
    at(level)
    mark = token_hex(8)
    service = await asyncio.create_subprocess_exec(sys.executable, "-c", DRIVER, str(folder), level, mark, cwd=ROOT)
    await until((folder / "begun").exists)
    service.send_signal(signal.SIGKILL)
    await service.wait()
    assert await ends(mark, 500)
    temporary = (folder / "temporary").read_text().strip()
    assert temporary.startswith(tempfile.gettempdir())
    await until(lambda: not _exists(temporary))


# What is left of its files


def test_remove_takes_folders_that_are_deep_closed_or_full_of_links(base: Path) -> None:
    folder = base / "left"
    folder.mkdir()
    (base / "kept").mkdir()
    (base / "kept" / "file").touch()
    (folder / "out").symlink_to(base / "kept")
    build = "import os\nfor _ in range(1500): os.mkdir('d'); os.chdir('d')\nopen('f', 'w')"
    subprocess.run([sys.executable, "-c", build], cwd=folder, check=True)
    for path in (folder / "closed" / "inner", folder / "d" / "closed"):
        path.mkdir(parents=True)
        path.chmod(0)
    remove(folder)
    assert not folder.exists()
    assert (base / "kept" / "file").exists()
    remove(folder)
