"""What every script starts as: a small process that takes the limits on and then becomes the script.

Its compiled code is handed to `python -I -S` (see `cage`), with that of the modules of ours that it imports. It
imports little else, as that takes longer than all that it does.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # without the enums of `signal`
import os
import resource
import stat
import sys
import time

from sandbox.descendants import kill_below, pids, read, send
from sandbox.kernel import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    PR_SET_SECUREBITS,
    become,
    landlock,
    landlock_version,
    no_sockets,
    prctl,
)
from sandbox.removal import remove

TYPE_CHECKING = False  # known to mypy; `typing` would have to be imported for every script
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn, TypedDict

    class Order(TypedDict):
        """`user` 0: stay who we are. `passes`: see `become`. `processes`: beside those that the user has already."""

        command: list[str]
        environment: dict[str, str]
        folder: str
        temporary: str
        supervised_for: int
        user: int
        passes: bool
        owned: list[str]
        limits: list[tuple[int, int]]
        processes: int
        landlock: bool
        readable: list[str]
        writable: list[str]
        devices: list[str]
        socketless: bool
        probe: list[str]


TRUNCATION = 3
"""The version of Landlock from which on files outside cannot be cut to nothing."""
DEEPEST = 64
"""How deep the files of a folder are given to the script's user."""


def main(order: Order, status: int) -> None:
    """`status` is a pipe that is told `+` when the command is executed, and the reason where that fails."""
    os.set_inheritable(status, False)
    if order["probe"]:
        import _socket  # noqa: F401 - Python's library may be out of reach later
    try:
        if order["supervised_for"]:
            _supervise(order["supervised_for"], order["temporary"], status)
        _confine(order)
        if order["probe"]:
            os.write(1, " ".join(_probe(order)).encode())
            os.write(status, b"+")
            return
        os.write(status, b"+")
        _execute(order["command"], order["environment"])
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        os.write(status, reason.encode("utf-8", "replace"))
        os._exit(126)


def _execute(command: list[str], environment: dict[str, str]) -> NoReturn:
    """As execvpe, which has to import something, but Python's library may be out of reach now."""
    name = command[0]
    folders = [""] if "/" in name else [f"{folder}/" for folder in environment["PATH"].split(":")]
    reason: OSError = FileNotFoundError(2, "No such file or directory")
    for folder in folders:
        try:
            os.execve(folder + name, command, environment)  # noqa: S606
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            if os.access(folder + name, os.F_OK):  # else a folder that is closed to the script's user
                reason = error
    raise reason


def _supervise(parent: int, temporary: str, status: int) -> None:
    """Returns in a child, which becomes the script. What was there before waits for its end, or for SIGTERM, which
    the end of `parent` sends too, then ends all that the script has started, and removes its temporary files.

    As a subreaper it inherits processes that have left their parents and sessions, so none is lost.
    """
    if sys.platform == "linux":
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
    script = os.fork()
    if not script:
        os.setsid()
        return
    signal.signal(signal.SIGTERM, lambda *_: _end(script, temporary, 128 + signal.SIGKILL))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    for descriptor in (0, 1, 2, status):
        os.close(descriptor)  # the script's, so that they end with it
    while (ended := os.wait())[0] != script:
        pass
    code = os.waitstatus_to_exitcode(ended[1])
    _end(script, temporary, code if code >= 0 else 128 - code)


def _end(script: int, temporary: str, code: int) -> NoReturn:
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            remove(temporary)
            os._exit(code)
        send(signal.SIGKILL, [-script])  # its process group; all that can be done without /proc
        kill_below(os.getpid())
        time.sleep(0.001)


def _confine(order: Order) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and a program would inherit that
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o022)
    _yield_to_others()
    processes = order["processes"] + (0 if order["user"] else _threads_of(os.getuid()))
    for kind, most in order["limits"]:
        _limit(kind, most)
    if order["user"]:
        _give(order["owned"], order["user"])
    os.chdir(order["folder"])
    _renounce(order)
    _limit_processes(processes)


def _yield_to_others() -> None:
    """The service is served first, and lives longer where memory runs out."""
    os.nice(10)
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        return


def _limit(kind: int, most: int) -> None:
    """A second above a soft limit of CPU time comes SIGKILL."""
    hard, hardest = most + (kind == resource.RLIMIT_CPU), resource.getrlimit(kind)[1]
    if hardest != resource.RLIM_INFINITY:
        hard = min(hard, hardest)
    resource.setrlimit(kind, (min(most, hard), hard))


def _threads_of(user: int) -> int:
    """What the kernel counts against RLIMIT_NPROC, as far as /proc shows it."""
    found = 0
    for pid in pids():
        fields = dict(line.split(b":", 1) for line in read(f"/proc/{pid}/status").splitlines() if b":" in line)
        if int(fields.get(b"Uid", b"-1").split()[0]) == user:
            found += int(fields[b"Threads"])
    return found


def _limit_processes(most: int) -> None:
    """Where the kernel counts processes that /proc does not show (other containers' with the same user), nothing
    could be started any more: then the limit is left as it was."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (most, hard))
    try:
        if not (child := os.fork()):
            os._exit(0)
        os.waitpid(child, 0)
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
    except BlockingIOError:
        resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))


def _give(folders: list[str], user: int) -> None:
    """The files become the user's, except links and those that have a name elsewhere too, as they may not be ours."""
    for stream in (0, 1, 2):  # /dev/stdout opens the pipe anew
        if stat.S_ISFIFO(os.fstat(stream).st_mode):
            os.fchown(stream, user, user)
    for folder in folders:
        for path, below, files, here in os.fwalk(folder):
            os.fchown(here, user, user)
            if path.count("/") - folder.count("/") >= DEEPEST:
                below.clear()
            for name in files:
                _give_file(name, here, user)
        os.chmod(folder, 0o700)


def _give_file(name: str, folder: int, user: int) -> None:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return
    try:
        info = os.fstat(descriptor)
        if stat.S_ISREG(info.st_mode) and info.st_nlink == 1 and info.st_uid != user:
            os.fchown(descriptor, user, user)
    finally:
        os.close(descriptor)


def _renounce(order: Order) -> None:
    """From here on nothing can be won back."""
    if sys.platform != "linux":
        return
    if order["supervised_for"]:  # bubblewrap does it itself
        prctl(PR_SET_NO_NEW_PRIVS, 1)
    if order["landlock"]:
        landlock(order["readable"], order["writable"], order["devices"])
    if order["user"]:
        if order["passes"] and landlock_version() < TRUNCATION:
            raise OSError("this kernel's Landlock does not hold back a user whom no mode holds back")
        become(order["user"], order["passes"])
    elif not os.getuid():
        _drop_capabilities()
    if order["supervised_for"]:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which resets it
    if order["socketless"]:
        no_sockets()


def _drop_capabilities() -> None:
    """Root has none any more once it executes a program; one that may not even do this has few."""
    try:
        prctl(PR_SET_SECUREBITS, 0b11)
    except OSError:
        return


def _probe(order: Order) -> Iterator[str]:
    """What a script could do here, in words. `probe`: a file of the service, its process, a port of it."""
    import _socket

    secret, service, port = order["probe"]

    def connect(kind: int) -> None:
        peer = _socket.socket(_socket.AF_INET, kind)
        peer.settimeout(2)
        peer.connect(("127.0.0.1", int(port)))
        peer.send(b"datagram")

    trials: dict[str, Callable[[], object]] = {
        "outside": lambda: os.close(os.open(secret, os.O_RDONLY)),
        "environment": lambda: os.close(os.open(f"/proc/{service}/environ", os.O_RDONLY)),
        "tcp": lambda: connect(_socket.SOCK_STREAM),
        "udp": lambda: connect(_socket.SOCK_DGRAM),
        "write": lambda: os.close(os.open(f"{order['folder']}/written", os.O_WRONLY | os.O_CREAT)),
        "processes": lambda: os.stat("/proc/self/stat"),
        "python": lambda: os.close(os.open(os.path.realpath(sys.executable), os.O_RDONLY)),
    }
    for word, trial in trials.items():
        try:
            trial()
        except OSError:
            continue
        yield word
