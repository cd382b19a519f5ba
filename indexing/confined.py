"""A program that sees one folder and the system's own files, and nothing else of the machine.

LibreOffice shows what a document points to ("the picture at /home/ann/passport.png") where its
settings forget a case, and a stranger's document then publishes files of whoever indexes it. Here
the kernel (Landlock, Linux 5.13 on) says no. Started as ``python -I -S confined.py FOLDER
PROGRAM_FOLDER -- COMMAND...``; it needs no privilege, and holds for all that COMMAND starts.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable
from pathlib import Path

# System call numbers, the same on every architecture.
_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_SET_NO_NEW_PRIVILEGES = 38
_PATH_BENEATH, _VERSION = 1, 1
# Rights on files, as linux/landlock.h numbers them.
_EXECUTE, _WRITE, _READ, _LIST, _REMOVE_FILE, _MAKE_SOCKET = 1, 2, 4, 8, 32, 512
_OF_A_FILE = _EXECUTE | _WRITE | _READ | 1 << 14 | 1 << 15
# All rights that each version of Landlock knows; what is not listed it lets pass.
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ALL_RIGHTS = (1 << 16) - 1
# TCP, from version 4 on: neither to listen nor to connect.
_TCP, _TCP_SINCE = 3, 4
# Where systems keep programs, libraries, fonts and what libraries look up; no one's documents.
_SYSTEM = (
    *("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/opt", "/nix/store", "/gnu/store"),
    *("/etc/fonts", "/etc/libreoffice", "/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives"),
    # Without its user's name LibreOffice does not start; a directory service keeps it elsewhere.
    *("/etc/passwd", "/etc/nsswitch.conf", "/run/systemd/userdb", "/var/lib/sss", "/run/nscd"),
    *("/etc/locale.alias", "/etc/papersize"),
    *("/var/lib/libreoffice", "/var/spool/libreoffice", "/var/cache/fontconfig"),
    *("/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu", "/dev/urandom", "/dev/random"),
)


def available() -> int:
    """The version of Landlock that the kernel has; 0 if it has none, or does not use it."""
    # Elsewhere the same numbers are other calls.
    return max(0, _call(_CREATE, None, 0, _VERSION)) if sys.platform == "linux" else 0


def confine(folder: Path, program: Path) -> bool:
    """Take from this process and its children every file but those in ``folder``, those of
    ``program`` and the system's; False if the kernel cannot. There is no way back."""
    version = available()
    if not version:
        return False
    rights = _RIGHTS.get(version, _ALL_RIGHTS)
    attributes = (ctypes.c_uint64 * 2)(rights, _TCP if version >= _TCP_SINCE else 0)
    size = 16 if version >= _TCP_SINCE else 8
    rules = _call(_CREATE, ctypes.byref(attributes), size, 0)
    if rules < 0:
        return False
    looking = _READ | _LIST | _EXECUTE
    _allow(rules, (folder,), rights)
    _allow(rules, map(Path, _SYSTEM), looking)
    _allow(rules, (program,), looking)
    _allow(rules, (Path("/dev/null"),), (_READ | _WRITE | 1 << 14) & rights)
    # The socket by which a second LibreOffice would find the first: without it none starts.
    _allow(rules, (Path("/tmp"),), _MAKE_SOCKET | _REMOVE_FILE)
    ctypes.CDLL(None).prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    done = _call(_RESTRICT, rules, 0)
    os.close(rules)
    return done == 0


def _allow(rules: int, places: Iterable[Path], rights: int) -> None:
    for place in places:
        try:
            at = os.open(place, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        wanted = rights if place.is_dir() else rights & _OF_A_FILE
        # Packed in the kernel's header: eight bytes of rights, four of the descriptor.
        rule = wanted.to_bytes(8, sys.byteorder) + at.to_bytes(4, sys.byteorder)
        _call(_ADD_RULE, rules, _PATH_BENEATH, rule, 0)
        os.close(at)


def _call(number: int, *arguments: object) -> int:
    return int(ctypes.CDLL(None, use_errno=True).syscall(number, *arguments))


def main() -> None:
    """Confine, then become the command."""
    folder, program, _, *command = sys.argv[1:]
    confine(Path(folder), Path(program))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
