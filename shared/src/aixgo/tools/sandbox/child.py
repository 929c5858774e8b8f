"""The process of a sandboxed function: `python -I child.py FD`; the request comes on its input.

It takes its limits before it imports anything of the function's.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Mapping
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x1000_0000, 0x4000_0000

MAX_OPEN, MAX_PROCESSES = 64, 64
"""Files and sockets, and processes and threads. The latter are those of the user, so a function
without the network, which is a user of its own, counts alone; they never bind root."""


def main() -> None:
    """Answer one request on the file descriptor in the first argument."""
    request = json.loads(sys.stdin.buffer.read())
    refused = _confine(request["limits"])
    answer: bytes
    if refused:
        answer = json.dumps({"refused": refused}).encode()
    elif request["mode"] == "probe":
        answer = b"{}"
    else:
        sys.path[:] = request["path"]
        from aixgo.tools.sandbox.work import answer_to  # with the limits in force

        answer = answer_to(request)
    with open(int(sys.argv[1]), "wb") as out:
        out.write(answer)


def _confine(limits: Mapping[str, Any]) -> str:
    """Take the limits; returns what is impossible on this machine, or nothing."""
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "linux":
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if os.getppid() != limits["parent"]:
            os._exit(1)  # the service died before it could be noticed
    if not limits["network"]:
        refused = _leave_network(libc)
        if refused:
            return refused
    seconds = limits["cpu"]
    for kind, soft, hard in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_CPU, seconds, seconds + 1),
        (resource.RLIMIT_FSIZE, limits["files"], limits["files"]),
        (resource.RLIMIT_NOFILE, MAX_OPEN, MAX_OPEN),
        (resource.RLIMIT_NPROC, MAX_PROCESSES, MAX_PROCESSES),
        (resource.RLIMIT_AS, limits["memory"], limits["memory"]),
    ):
        _, most = resource.getrlimit(kind)
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        resource.setrlimit(kind, (soft, hard))
    return ""


def _leave_network(libc: Any) -> str:
    """Go to a network of one's own, which has no interface; returns why that is impossible."""
    if sys.platform != "linux":
        return f"{sys.platform} cannot take the network away from a process"
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0:
        # the same user as before, for what it looks up
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            try:
                with open(f"/proc/self/{name}", "w") as out:
                    out.write(text)
            except OSError:  # it is then a user without a name, who may do the same
                break
        return ""
    reason = os.strerror(ctypes.get_errno())
    if libc.unshare(_CLONE_NEWNET) == 0:
        return ""
    return f"the kernel does not let this process leave the network (unshare: {reason})"


if __name__ == "__main__":
    main()
