"""Run a program that cannot watch the machine's network: `python unwatched.py PROGRAM ARGUMENT ...`.

Chromium breaks off what it is just connecting when an address comes or goes on any interface (ERR_NETWORK_CHANGED), and
they do all the time where containers are started beside it. Where the kernel gives it no netlink socket it takes the
network for one that stays as it is. Elsewhere than on Linux the program is run as it is.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from contextlib import suppress
from typing import Final

_NETLINK: Final = 16
# AUDIT_ARCH_... of linux/audit.h, and the number of socket(2) there.
_MACHINES: Final = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
# linux/prctl.h, linux/seccomp.h
_SET_NO_NEW_PRIVS: Final = 38
_SET_SECCOMP, _FILTER = 22, 2
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
# linux/bpf_common.h: load a word, jump if equal, return
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
# Where struct seccomp_data has the system call's number, the machine and the first argument's lower half.
_NUMBER, _MACHINE, _ARGUMENT = 0, 4, 16


def _rules(machine: int, socket_number: int) -> bytes:
    """Everything may be called, but for socket(AF_NETLINK, ...), which fails as where there is no such family."""
    steps = [
        (_LOAD, 0, 0, _MACHINE),
        (_IF_EQUAL, 0, 5, machine),
        (_LOAD, 0, 0, _NUMBER),
        (_IF_EQUAL, 0, 3, socket_number),
        (_LOAD, 0, 0, _ARGUMENT),
        (_IF_EQUAL, 0, 1, _NETLINK),
        (_RETURN, 0, 0, _ERRNO | errno.EAFNOSUPPORT),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def close_netlink() -> None:
    """Have the kernel refuse netlink sockets to this process and those it becomes. Raises OSError when it cannot."""
    rules = ctypes.create_string_buffer(_rules(*_MACHINES[platform.machine()]))
    program = struct.pack("HxxxxxxP", len(rules.raw) // 8, ctypes.addressof(rules))
    call = ctypes.CDLL(None, use_errno=True).prctl
    for words in ((_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_SET_SECCOMP, _FILTER, program, 0, 0)):
        if call(*words):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    if sys.platform == "linux" and platform.machine() in _MACHINES:
        # Where filters are not allowed either, it watches as ever.
        with suppress(OSError):
            close_netlink()
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - the browser, by its path
