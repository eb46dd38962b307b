"""A seccomp filter written by hand: what no training job needs is refused before the kernel looks at it.

A system call whose number is higher than the newest one this list was checked against does not exist inside:
what Linux will add is refused until somebody has looked at it.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from dataclasses import dataclass

from .kernel import MACHINE, syscall

NEWEST = 462
"""mseal, Linux 6.10."""
_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000
"""Set in the number of a call by the x32 interface of x86_64, which nothing here uses."""

_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_ERRNO = 0x00050000
_PRETEND = _ERRNO
"""Error 0: the caller is told that it worked, and nothing was done. `shutil.copy` copies modes and must not
fail for it."""

_MODE_FILTER = 1
_SPECULATION_ALLOWED = 1 << 2
"""Without it, kernels before 5.16 switch off speculative stores, and every job is slower."""

_LOAD, _EQUAL, _ABOVE, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16

_NAMES = """
    pretend chmod 90 - fchmod 91 52 fchmodat 268 53 fchmodat2 452 452
    EPERM chown 92 - fchown 93 55 lchown 94 - fchownat 260 54
    EOPNOTSUPP setxattr 188 5 lsetxattr 189 6 fsetxattr 190 7
    EOPNOTSUPP removexattr 197 14 lremovexattr 198 15 fremovexattr 199 16
    EPERM ptrace 101 117 process_vm_readv 310 270 process_vm_writev 311 271 process_madvise 440 440
    EPERM kcmp 312 272 pidfd_getfd 438 438 perf_event_open 298 241 bpf 321 280 userfaultfd 323 282
    ENOSYS keyctl 250 219 add_key 248 217 request_key 249 218
    ENOSYS io_uring_setup 425 425 io_uring_enter 426 426 io_uring_register 427 427
    EPERM mount 165 40 umount2 166 39 pivot_root 155 41 chroot 161 51 move_mount 429 429 open_tree 428 428
    EPERM fsopen 430 430 fsconfig 431 431 fsmount 432 432 fspick 433 433 mount_setattr 442 442
    EPERM statmount 457 457 listmount 458 458 unshare 272 97 setns 308 268
    EPERM kexec_load 246 104 kexec_file_load 320 294 init_module 175 105 finit_module 313 273
    EPERM delete_module 176 106 reboot 169 142 swapon 167 224 swapoff 168 225 acct 163 89
    EPERM quotactl 179 60 quotactl_fd 443 443 settimeofday 164 170 clock_settime 227 112
    EPERM adjtimex 159 171 clock_adjtime 305 266 sethostname 170 161 setdomainname 171 162
    EPERM iopl 172 - ioperm 173 - modify_ldt 154 - vhangup 153 58 syslog 103 116
    EPERM name_to_handle_at 303 264 open_by_handle_at 304 265 fanotify_init 300 262 fanotify_mark 301 263
    EPERM inotify_init 253 - inotify_init1 294 26 inotify_add_watch 254 27
    ENOSYS lookup_dcookie 212 18 nfsservctl 180 42 uselib 134 - sysfs 139 - _sysctl 156 - ustat 136 -
    EPERM mbind 237 235 migrate_pages 256 238 move_pages 279 239 set_mempolicy 238 237
    EPERM set_mempolicy_home_node 450 450 remap_file_pages 216 234 ioprio_set 251 30
    ENOSYS seccomp 317 277 landlock_create_ruleset 444 444 landlock_add_rule 445 445
    ENOSYS landlock_restrict_self 446 446 lsm_get_self_attr 459 459 lsm_set_self_attr 460 460
    ENOSYS lsm_list_modules 461 461 memfd_create 319 279 memfd_secret 447 447 clone3 435 435
    ENOSYS shmget 29 194 shmat 30 196 shmctl 31 195 msgget 68 186 msgsnd 69 189 msgrcv 70 188 msgctl 71 187
    ENOSYS semget 64 190 semop 65 193 semtimedop 220 192 semctl 66 191
    ENOSYS mq_open 240 180 mq_unlink 241 181 mq_timedsend 242 182 mq_timedreceive 243 183
"""
"""What is answered, then system calls, each with its number on x86_64 and on aarch64.

clone3 passes its flags where no filter sees them; the C library then uses clone. Anonymous files (memfd) and
SysV memory hold pages that no process has mapped, which the watchdog would not see."""

_NEW_NAMESPACES = 0x7E020000
_CLONE_PARENT_OR_PTRACE = 0x8000 | 0x2000
_RLIMIT_CORE = 4
_AF_UNIX = 1
_SOCK_STREAM, _SOCK_SEQPACKET, _KINDS = 1, 5, 0xFF
_ADDR_NO_PERSONALITY = 0xFFFFFFFF
_TERMINAL_INPUT = (0x5412, 0x541C)
_FILE_FLAGS = (0x40086602, 0x401C5820, 0x40046602)
_NUMBERS = {
    "socket": (41, 198),
    "socketpair": (53, 199),
    "clone": (56, 220),
    "prlimit64": (302, 261),
    "setrlimit": (160, 164),
    "setpriority": (141, 140),
    "personality": (135, 92),
    "ioctl": (16, 29),
    "utimensat": (280, 88),
}
_OLD_TIMES = (132, 235, 261)
"""utime, utimes, futimesat: of x86_64 only, and used by no C library of today."""


@dataclass(frozen=True)
class _Instruction:
    code: int
    yes: int = 0
    no: int = 0
    value: int = 0


def _answer(name: str) -> int:
    return _PRETEND if name == "pretend" else _ERRNO | int(getattr(errno, name))


def _column() -> int:
    return ("x86_64", "aarch64").index(MACHINE)


def refused() -> dict[str, tuple[int, int]]:
    """System call → (its number on this machine, the filter's answer)."""
    found = {}
    for line in _NAMES.strip().splitlines():
        answer, *words = line.split()
        for at in range(0, len(words), 3):
            name, number = words[at], words[at + 1 + _column()]
            if number != "-":
                found[name] = (int(number), _answer(answer))
    return found


def _load(offset: int) -> _Instruction:
    return _Instruction(_LOAD, value=offset)


def _argument(index: int, high: bool = False) -> _Instruction:
    return _load(_ARGUMENTS + 8 * index + (4 if high else 0))


def _end(answer: int) -> _Instruction:
    return _Instruction(_RETURN, value=answer)


def _when(name: str, body: list[_Instruction]) -> list[_Instruction]:
    """The body, which has to end with an answer, for one system call only."""
    return [_Instruction(_EQUAL, 0, len(body), _NUMBERS[name][_column()]), *body]


def _unless_equal(values: tuple[int, ...], otherwise: int) -> list[_Instruction]:
    """Go on behind these instructions when the loaded value is one of these; else answer."""
    last = len(values)
    return [_Instruction(_EQUAL, last - at, 0, value) for at, value in enumerate(values)] + [_end(otherwise)]


def _checks(times: bool) -> list[_Instruction]:
    """System calls that depend on their arguments."""
    permission = _answer("EPERM")
    allow = _end(_ALLOW)
    family = _answer("EAFNOSUPPORT")
    program = [
        *_when("socket", [_argument(0), *_unless_equal((_AF_UNIX,), family), *_kinds(family), allow]),
        *_when("socketpair", [_argument(0), *_unless_equal((_AF_UNIX,), family), allow]),
        *_when(
            "clone",
            [
                _argument(0),
                _Instruction(_ANY_BIT, 0, 1, _NEW_NAMESPACES | _CLONE_PARENT_OR_PTRACE),
                _end(permission),
                allow,
            ],
        ),
        # another process's limits; and a core size of 0 would let a piping core_pattern run
        *_when(
            "prlimit64",
            [
                _argument(0),
                *_unless_equal((0,), permission),
                _argument(1),
                _Instruction(_EQUAL, 0, 6, _RLIMIT_CORE),
                _argument(2),
                *_unless_equal((0,), permission),
                _argument(2, high=True),
                *_unless_equal((0,), permission),
                allow,
            ],
        ),
        *_when(
            "setrlimit", [_argument(0), _Instruction(_EQUAL, 0, 1, _RLIMIT_CORE), _end(permission), allow]
        ),
        *_when(
            "setpriority",
            [
                _argument(0),
                *_unless_equal((0,), permission),
                _argument(1),
                *_unless_equal((0,), permission),
                allow,
            ],
        ),
        *_when("personality", [_argument(0), *_unless_equal((_ADDR_NO_PERSONALITY,), permission), allow]),
        *_when("ioctl", [_argument(1), *_none_of((*_TERMINAL_INPUT, *_FILE_FLAGS), permission), allow]),
    ]
    if times:
        # without times (`touch`) it fails, and Path.touch goes on to open the file; with times (copying of
        # metadata) it pretends
        program += _when(
            "utimensat",
            [
                _argument(2),
                *_unless_equal((0,), _PRETEND),
                _argument(2, high=True),
                *_unless_equal((0,), _PRETEND),
                _end(permission),
            ],
        )
        if MACHINE == "x86_64":
            for number in _OLD_TIMES:
                program += [_Instruction(_EQUAL, 0, 1, number), _end(permission)]
    return program


def _kinds(otherwise: int) -> list[_Instruction]:
    """Stream and packet sockets only; the flags beside the kind do not matter."""
    mask = _Instruction(0x54, value=_KINDS)
    return [_argument(1), mask, *_unless_equal((_SOCK_STREAM, _SOCK_SEQPACKET), otherwise)]


def _none_of(values: tuple[int, ...], answer: int) -> list[_Instruction]:
    program = []
    for value in values:
        program += [_Instruction(_EQUAL, 0, 1, value), _end(answer)]
    return program


def program(times: bool = False) -> bytes:
    """The filter as the kernel reads it.

    times: refuse to change the times of files as well, for where no read-only mount protects them.

    Raises:
        OSError: there is no filter for this machine's processor.
    """
    if MACHINE not in _ARCHITECTURE:
        raise OSError(errno.ENOSYS, f"seccomp: no filter for {MACHINE}")
    instructions = [
        _load(_ARCH),
        _Instruction(_EQUAL, 1, 0, _ARCHITECTURE[MACHINE]),
        _end(_KILL),
        _load(_NUMBER),
    ]
    if MACHINE == "x86_64":
        instructions += [_Instruction(_AT_LEAST, 0, 1, _X32), _end(_KILL)]
    instructions += [_Instruction(_ABOVE, 0, 1, NEWEST), _end(_answer("ENOSYS"))]
    for number, answer in refused().values():
        instructions += [_Instruction(_EQUAL, 0, 1, number), _end(answer)]
    instructions += [*_checks(times), _end(_ALLOW)]
    return b"".join(struct.pack("=HBBI", one.code, one.yes, one.no, one.value) for one in instructions)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def install(compiled: bytes) -> None:
    """Put this process, and all it will start, behind the filter, for good. No new privileges must be set.

    Raises:
        OSError: the kernel refused.
    """
    text = ctypes.create_string_buffer(compiled, len(compiled))
    given = _Program(len(compiled) // 8, ctypes.addressof(text))
    syscall("seccomp", _MODE_FILTER, _SPECULATION_ALLOWED, ctypes.byref(given))
