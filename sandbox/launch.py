"""What every script starts as: a small process that takes the limits on and then becomes the script.

Its compiled code is handed to `python -I -S` (see `cage`), so it imports nothing of ours, and little else, as that
takes longer than all that it does. Numbers are those of Linux' headers: prctl.h, landlock.h, seccomp.h, filter.h,
audit.h.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import stat
import struct
import sys
import time

TYPE_CHECKING = False  # importing `typing` takes longer than all the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import NoReturn, TypedDict

    class Order(TypedDict):
        """`user` 0: stay who we are. `processes`: that may be there beside those that the user has already."""

        command: list[str]
        environment: dict[str, str]
        folder: str
        supervised_for: int
        user: int
        owned: list[str]
        limits: list[tuple[int, int]]
        processes: int
        landlock: bool
        readable: list[str]
        writable: list[str]
        devices: list[str]
        socketless: bool
        probe: list[str]


PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_SECUREBITS = 1, 4, 22, 28
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
MAKE_CHAR, MAKE_BLOCK, IOCTL_DEV = 1 << 6, 1 << 11, 1 << 15
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
SOCKET = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198), "riscv64": (0xC00000F3, 198)}
"""By machine: its number in audit.h, and that of the system call `socket`."""
IO_URING_SETUP = 425
DEEPEST = 64
"""How deep the files of a folder are given to the script's user."""


def main(order: Order, status: int) -> None:
    """`status` is a pipe that is told `+` when the command is executed, and the reason where that fails."""
    os.set_inheritable(status, False)
    if order["probe"]:
        import _socket  # noqa: F401 - Python's library may be out of reach later
    try:
        if order["supervised_for"]:
            _supervise(order["supervised_for"], status)
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


def _supervise(parent: int, status: int) -> None:
    """Returns in a child, which becomes the script. What was there before waits for its end, or for SIGTERM, which
    the end of `parent` sends too, and then ends all that the script has started.

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
    signal.signal(signal.SIGTERM, lambda *_: _end(script, 128 + signal.SIGKILL))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    for descriptor in (0, 1, 2, status):
        os.close(descriptor)  # the script's, so that they end with it
    while (ended := os.wait())[0] != script:
        pass
    code = os.waitstatus_to_exitcode(ended[1])
    _end(script, code if code >= 0 else 128 - code)


def _end(script: int, code: int) -> NoReturn:
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            os._exit(code)
        _send(signal.SIGKILL, [-script])  # its process group; all that can be done without /proc
        kill_below(os.getpid())
        time.sleep(0.001)


def kill_below(root: int) -> None:
    """SIGKILL for all that descends from a process; first they are stopped, so that none forks away meanwhile."""
    stopped = set[int]()
    for _ in range(100):
        if not (new := descendants(root) - stopped):
            break
        _send(signal.SIGSTOP, new)
        stopped |= new
    _send(signal.SIGKILL, stopped)


def _send(number: int, pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def descendants(root: int) -> set[int]:
    """The children of a process, theirs and so on, zombies too. Empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    for pid in _pids():
        # The command's name stands in brackets and may have any character.
        after = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        if len(after) > 1:
            children.setdefault(int(after[1]), []).append(pid)
    found, waiting = set[int](), [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found.update(below)
        waiting += below
    return found


def _pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return []


def _read(path: str) -> bytes:
    """All, or nothing where the process is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 8192)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


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
    hardest = resource.getrlimit(kind)[1]
    hard = most + (kind == resource.RLIMIT_CPU)
    if hardest != resource.RLIM_INFINITY:
        hard = min(hard, hardest)
    resource.setrlimit(kind, (min(most, hard), hard))


def _threads_of(user: int) -> int:
    """What the kernel counts against RLIMIT_NPROC, as far as /proc shows it."""
    found = 0
    for pid in _pids():
        fields = dict(line.split(b":", 1) for line in _read(f"/proc/{pid}/status").splitlines() if b":" in line)
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
        _landlock(order)
    if order["user"]:
        os.setgroups([])
        os.setgid(order["user"])
        os.setuid(order["user"])
    elif not os.getuid():
        _drop_capabilities()
    if order["supervised_for"]:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which resets it
    if order["socketless"]:
        _no_sockets()


def _drop_capabilities() -> None:
    """Root has none any more once it executes a program; one that may not even do this has few."""
    try:
        prctl(PR_SET_SECUREBITS, 0b11)
    except OSError:
        return


def prctl(option: int, value: int, address: int = 0) -> None:
    """Raises OSError."""
    _call("prctl", option, value, address, 0, 0)


def hide_process() -> None:
    """Keeps this process's memory and environment from other processes of its user, until it executes something.

    Debuggers and core dumps end with it. Scripts below the level `bubblewrap` may be of our user.
    """
    if sys.platform == "linux":
        prctl(PR_SET_DUMPABLE, 0)


def _call(name: str, *arguments: int | bytes | None) -> int:
    """A function of the C library. Raises OSError."""

    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    returned = int(function(*(ctypes.c_long(given) if isinstance(given, int) else given for given in arguments)))
    if returned < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return returned


def _landlock(order: Order) -> None:
    """Files beneath the given paths only, no TCP from version 4 on, no signals to processes outside from 6 on."""
    version = _call("syscall", LANDLOCK_CREATE_RULESET, None, 0, 1)
    every = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    asked = struct.pack("QQQ", every, 0b11, 0b11)[: 8 if version < 4 else 16 if version < 6 else 24]
    rules = _call("syscall", LANDLOCK_CREATE_RULESET, asked, len(asked), 0)
    for paths, rights in (
        (order["readable"], EXECUTE | READ_FILE | READ_DIR),
        (order["writable"], every & ~(MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV)),
        (order["devices"], READ_FILE | WRITE_FILE | TRUNCATE),
    ):
        for path in paths:
            _allow(rules, path, rights & every)
    _call("syscall", LANDLOCK_RESTRICT_SELF, rules, 0)
    os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= OF_FILES
        _call("syscall", LANDLOCK_ADD_RULE, rules, 1, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)


def _no_sockets() -> None:
    """The system call `socket` fails, also through io_uring and for programs of another word size.

    Pairs of sockets still work; they lead nowhere but to each other.
    """

    machine = os.uname().machine
    if machine not in SOCKET:
        raise OSError(f"the system calls of {machine} are not known")
    architecture, number = SOCKET[machine]
    refused, missing = 0x00050000 | 13, 0x00050000 | 38  # EACCES, ENOSYS
    load, equal, at_least, give_back = 0x20, 0x15, 0x35, 0x06
    steps = (
        (load, 0, 0, 4),  # the architecture
        (equal, 0, 5, architecture),
        (load, 0, 0, 0),  # the number of the call
        (at_least, 3, 0, 0x40000000),  # x32
        (equal, 2, 0, IO_URING_SETUP),
        (equal, 2, 0, number),
        (give_back, 0, 0, 0x7FFF0000),
        (give_back, 0, 0, missing),
        (give_back, 0, 0, refused),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(code)))
    prctl(PR_SET_SECCOMP, 2, ctypes.addressof(program))


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
