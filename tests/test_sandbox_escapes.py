"""What scripts try against the service: each attack ends at each level as the table in `sandbox` says."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex

import pytest

import sandbox as package
from sandbox import Limits, Sandbox
from tests.test_sandbox import LEVELS, ROOT, at, base, ends, folder, owned_by_another, python, running

__all__ = ["base", "folder"]
MIB = 1024 * 1024
ROWS = {row[0]: dict(zip(LEVELS, row[1:], strict=True)) for row in re.findall(
    r"^\| ([^|]+) \| (\w[\w ]*) \| (\w[\w ]*) \| (\w[\w ]*) \|$", package.__doc__ or "", re.MULTILINE
) if row[1] != "bubblewrap"}  # fmt: skip
NOT_TRIED = {"fill the disk with many files", "fill memory with files in memory"}
ESCAPED = "escaped"


@dataclass(frozen=True, slots=True)
class Scene:
    """A script's working folder, and things of the service: a folder with a secret, a process, what it listens on."""

    sandbox: Sandbox
    folder: Path
    ours: Path
    victim: subprocess.Popen[bytes]
    port: int

    async def try_(self, code: str, *arguments: object, limits: Limits | None = None) -> bool:
        """Whether the script says that it escaped; what the sandbox does not let it do raises in it."""
        ran = await python(self.sandbox, self.folder, code, *map(str, arguments), limits=limits)
        assert ran.stdout.text in ("", f"{ESCAPED}\n"), ran
        assert ran.fault == ""
        return bool(ran.stdout.text)


Attack = Callable[[Scene], Awaitable[bool]]
ATTACKS: dict[str, Attack] = {}


def attack(row: str) -> Callable[[Attack], Attack]:
    def kept(function: Attack) -> Attack:
        ATTACKS[row] = function
        return function

    return kept


def landlock_version() -> int:
    return int(ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint(1)))


async def has_own_user(scene: Scene) -> bool:
    return await owned_by_another(scene.sandbox)


async def may_end(row: str, scene: Scene) -> set[bool]:
    """Whether the script escapes, as the table says for this machine. Where scripts are root's without its
    capabilities, what is open to the service may be closed to them."""
    said = ROWS[row][scene.sandbox.level]
    if said == "stopped" or (said == "version 6" and landlock_version() >= 6):
        return {False}
    if said == "open":
        return {True}
    if said == "rights":
        return {False} if os.getuid() else {False, not await has_own_user(scene)}
    return {False} if await has_own_user(scene) else {True, os.getuid() != 0}


@pytest.fixture
def ours(base: Path) -> Path:
    """As the service has its folders: closed to others. All that is in it is open, so that only that protects it."""
    path = base / "ours"
    path.mkdir()
    path.chmod(0o700)
    (path / "secret").write_text("secret")
    (path / "secret").chmod(0o666)
    return path


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"], env={"KEY": "secret"}) as process:
        yield process
        process.kill()


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture(params=LEVELS)
def scene(
    request: pytest.FixtureRequest, folder: Path, ours: Path, victim: subprocess.Popen[bytes], port: int
) -> Scene:
    return Scene(at(request.param), folder, ours, victim, port)


@pytest.mark.parametrize("row", [row for row in ROWS if row not in NOT_TRIED])
async def test_an_attack_ends_as_the_table_says(row: str, scene: Scene) -> None:
    assert await ATTACKS[row](scene) in await may_end(row, scene)


def test_every_row_of_the_table_is_tried() -> None:
    assert len(ROWS) > 20
    assert ROWS.keys() - NOT_TRIED == ATTACKS.keys()


# Files


@attack("read /etc/passwd")
async def _(scene: Scene) -> bool:
    return await scene.try_(f"open('/etc/passwd').read(1); print('{ESCAPED}')")


READ = f"import sys; 'secret' in open(sys.argv[1]).read() and print('{ESCAPED}')"


@attack("read our environment, or another process's")
async def _(scene: Scene) -> bool:
    os.environ["SKILL_AGENT_CANARY"] = "secret"
    for tell in ("open(f'/proc/{os.getppid()}/environ').read()", "os.environ"):
        ran = await python(scene.sandbox, scene.folder, f"import os; print({tell})")
        assert "CANARY" not in ran.stdout.text
    del os.environ["SKILL_AGENT_CANARY"]
    return await scene.try_(READ, f"/proc/{scene.victim.pid}/environ")


@attack("read a folder of ours or of another conversation")
async def _(scene: Scene) -> bool:
    beside = scene.folder.parent / "beside"
    beside.mkdir()
    await python(scene.sandbox, beside, "open('note', 'w').write('secret')")
    other = await scene.try_(READ, beside / "note")
    assert other is await scene.try_(READ, scene.ours / "secret")
    return other


@attack("write to such a folder")
async def _(scene: Scene) -> bool:
    for name in ("secret", "new"):
        await scene.try_("import sys; open(sys.argv[1], 'w').write('theirs')", scene.ours / name)
    written = (scene.ours / "secret").read_text() == "theirs"
    assert written is (scene.ours / "new").exists()
    return written


@attack("follow a link out of its folder")
async def _(scene: Scene) -> bool:
    (scene.folder / "link").symlink_to(scene.ours)
    by_link = await scene.try_(READ, "link/secret")
    code = f"import os, sys; os.link(sys.argv[1], 'hard'); open('hard').read() and print('{ESCAPED}')"
    assert not await scene.try_(code, scene.ours / "secret") or by_link
    return by_link


@attack("change the mode of files of ours")
async def _(scene: Scene) -> bool:
    await scene.try_("import os, sys; os.chmod(sys.argv[1], 0o777)", scene.ours)
    return os.stat(scene.ours).st_mode & 0o777 == 0o777


@attack("learn which files there are")
async def _(scene: Scene) -> bool:
    return await scene.try_(f"import os, sys; os.stat(sys.argv[1]); print('{ESCAPED}')", scene.ours)


@attack("use descriptors that we have open")
async def _(scene: Scene) -> bool:
    with (scene.ours / "secret").open() as secret, socket.socket() as connection:
        for descriptor in (secret.fileno(), connection.fileno()):
            os.set_inheritable(descriptor, True)
        code = f"""
import os
for descriptor in range(3, 256):
    try: os.fstat(descriptor); print('{ESCAPED}')
    except OSError: pass
"""
        return await scene.try_(code)


@attack("open /dev/mem or a disk")
async def _(scene: Scene) -> bool:
    code = """
import os
for name in ('mem', 'kmem', 'port', 'sda', 'vda', 'xvda', 'nvme0n1', 'dm-0'):
    try: os.open(f'/dev/{name}', os.O_RDONLY); print('escaped'); break
    except OSError: pass
try: os.mknod('disk', 0o60666, os.makedev(254, 0)); os.open('disk', os.O_RDONLY); print('escaped')
except OSError: pass
"""
    return await scene.try_(code)


# Network


@attack("connect to a port of this machine")
async def _(scene: Scene) -> bool:
    code = f"import socket, sys; socket.create_connection(('127.0.0.1', sys.argv[1])); print('{ESCAPED}')"
    return await scene.try_(code, scene.port)


@attack("connect to a Unix socket, or send UDP")
async def _(scene: Scene) -> bool:
    path = scene.folder.parent / "socket"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        server.bind(str(path))
        path.chmod(0o777)
        server.listen()
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        send = "import socket, sys; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', int(sys.argv[1])))"
        await scene.try_(send, receiver.getsockname()[1])
        connect = f"import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1]); print('{ESCAPED}')"
        connected = await scene.try_(connect, path)
        assert connected is _arrives(receiver)
        return connected


def _arrives(receiver: socket.socket) -> bool:
    with suppress(BlockingIOError):
        return bool(receiver.recv(10))
    return False


# Rights and processes


@attack("win rights by a set-user-ID program, or leave one of root's")
async def _(scene: Scene) -> bool:
    tools = scene.folder.parent / "tools"
    tools.mkdir()
    shutil.copy(shutil.which("id") or "", tools / "id")
    (tools / "id").chmod(0o4755)
    code = "import os, subprocess, sys; u = subprocess.run([sys.argv[1], '-u'], capture_output=True).stdout.decode()\n"
    code += "int(u) == os.getuid() or print('escaped'); import shutil\n"
    code += "shutil.copy(sys.argv[1], 'left'); os.chmod('left', 0o6755)\n"
    code += "import ctypes; ctypes.CDLL(None).prctl(39, 0, 0, 0, 0) == 1 or print('escaped')"
    ran = await scene.sandbox.run(["python3", "-c", code, f"{tools}/id"], folder=scene.folder, readable=[tools])
    assert ran.stderr.text == ""
    left = os.stat(scene.folder / "left")
    roots = left.st_uid == 0 and os.stat(scene.folder).st_mode & 0o077 != 0
    return bool(ran.stdout.text) or (roots and os.getuid() == 0 and await has_own_user(scene))


@attack("kill or trace a process of ours")
async def _(scene: Scene) -> bool:
    trace = f"import ctypes, sys; ctypes.CDLL(None).ptrace(16, int(sys.argv[1]), 0, 0) or print('{ESCAPED}')"
    traced = await scene.try_(trace, scene.victim.pid)
    await scene.try_("import os, sys; os.kill(int(sys.argv[1]), 9)", scene.victim.pid)
    return traced or scene.victim.poll() is not None


DAEMON = """
import os, signal, sys, time
supervisor = os.getppid()
if not os.fork():
    os.setsid()
    if not os.fork():
        for descriptor in range(3): os.close(descriptor)
        if 'kill' in sys.argv:
            try: os.kill(supervisor, 9)
            except PermissionError: pass
            open('killed', 'w')
        for number in (1, 2, 15): signal.signal(number, signal.SIG_IGN)
        time.sleep(600)
    os._exit(0)
while 'kill' in sys.argv and not os.path.exists('killed'):
    time.sleep(0.01)
"""


@attack("leave a process behind")
async def _(scene: Scene) -> bool:
    mark = token_hex(8)
    ran = await python(scene.sandbox, scene.folder, DAEMON, mark)
    assert (ran.exit_code, ran.fault) == (0, "")
    return not await ends(mark)


@attack("kill its supervisor and leave a process behind")
async def _(scene: Scene) -> bool:
    mark = token_hex(8)
    await python(scene.sandbox, scene.folder, DAEMON, mark, "kill")
    left = not await ends(mark)
    for pid in running(mark):
        os.kill(pid, signal.SIGKILL)
    return left


# Resources


async def ends_with(scene: Scene, command: list[str], limits: Limits, fault: str) -> bool:
    """Whether something is left, though the script was ended for this reason."""
    mark = token_hex(8)
    ran = await scene.sandbox.run([*command, mark], folder=scene.folder, limits=limits)
    assert re.search(fault, ran.fault), ran
    return not await ends(mark)


SMALL = Limits(seconds=20, cpu_seconds=10, memory=96 * MIB, processes=16, file_bytes=4 * MIB)


@attack("fork without end")
async def _(scene: Scene) -> bool:
    code = """
import os, time
log = os.open('log', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
script, full = os.getpid(), False
while not full or os.getpid() != script:
    try: os.fork() or os.write(log, b'x')
    except OSError: full = True
time.sleep(0.2)
"""
    left = await ends_with(scene, ["python3", "-c", code], SMALL, "^$|more than 16 processes")
    assert os.stat(scene.folder / "log").st_size < 40 or (os.getuid() == 0 and not await has_own_user(scene))
    return left


@attack("take all memory")
async def _(scene: Scene) -> bool:
    code = "data = []\nwhile True: data.append(b'x' * 2**20)"
    return await ends_with(scene, ["python3", "-c", code], SMALL, "memory")


@attack("take all memory with many processes")
async def _(scene: Scene) -> bool:
    code = "import os, time\nfor _ in range(5):\n    if not os.fork(): break\ndata = b'x' * 2**25\ntime.sleep(60)"
    return await ends_with(scene, ["python3", "-c", code], SMALL, "used more than 96 MiB of memory and was stopped")


@attack("write without end")
async def _(scene: Scene) -> bool:
    code = "import os\nwhile True: os.write(1, b'x' * 65536)"
    ran = await python(scene.sandbox, scene.folder, code, limits=SMALL)
    assert ran.fault == "it wrote more than 4 MiB to a stream and was stopped"
    assert (len(ran.stdout.text) < 65_000, len(ran.stdout.spill)) == (True, 4 * MIB)
    return ran.stdout.size > 1024 * MIB


@attack("write a file without end")
async def _(scene: Scene) -> bool:
    script = ["sh", "-c", "exec cat /dev/zero > big"]
    left = await ends_with(scene, script, SMALL, "it wrote a file of more than 4 MiB")
    assert os.stat(scene.folder / "big").st_size == 4 * MIB
    return left


@attack("use the processor without end")
async def _(scene: Scene) -> bool:
    limits = replace(SMALL, cpu_seconds=1)
    return await ends_with(scene, ["python3", "-c", "while True: pass"], limits, "it used up its 1 s of CPU time")


@attack("sleep on and ignore SIGTERM")
async def _(scene: Scene) -> bool:
    code = "import signal, time\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\ntime.sleep(600)"
    return await ends_with(scene, ["python3", "-c", code], replace(SMALL, seconds=0.3), "it was stopped after 0.3 s")


# The service itself


def test_a_hidden_process_keeps_its_environment_from_its_own_user() -> None:
    code = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
import os
from sandbox import hide_process
def tried():
    try: open(f'/proc/{{os.getppid()}}/environ').close()
    except PermissionError: return 0
    return 1
for hide in (lambda: None, hide_process):
    hide()
    if not (child := os.fork()): os._exit(tried())
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    if os.getuid() == 0 and not all(folder.stat().st_mode & 0o001 for folder in (ROOT, *ROOT.parents)):
        pytest.skip("the project lies where nobody but root can read")
    try:
        done = subprocess.run(
            ["python3", "-c", code],
            cwd="/",
            env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
            capture_output=True,
            user=65534 if os.getuid() == 0 else None,
        )
    except OSError as error:
        pytest.skip(f"root may not change its user here: {error}")
    assert done.stdout.split() == [b"1", b"0"], done.stderr
