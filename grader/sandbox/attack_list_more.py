# ruff: noqa: E501  (a script is one line here)
"""More hostile scripts: what the kernel offers, what a machine shares, what a collector of files may meet."""

from __future__ import annotations

from .attack_list import LIBC, Attack, bound

# numbers of system calls differ; those from 424 on do not
_WHICH = "arm = os.uname().machine == 'aarch64'\n"

KERNEL = (
    Attack(
        "io_uring", "restricted", LIBC + "p = (ctypes.c_char * 120)()\nif call(425, 4, p) >= 0: print('WON')"
    ),
    Attack("userfaultfd", "restricted", LIBC + _WHICH + "if call(282 if arm else 323, 1) >= 0: print('WON')"),
    Attack(
        "execute an anonymous file",
        "restricted",
        LIBC + "try:\n    f = os.memfd_create('x', 0)\n    os.write(f, b'#!/bin/sh\\n')\n    print('WON')\n"
        "except OSError: pass",
    ),
    Attack(
        "a user namespace, with all its capabilities",
        "restricted",
        LIBC + "if libc.unshare(0x10000000) == 0: print('WON')",
    ),
    Attack(
        "mount a file system",
        "restricted",
        LIBC + "if libc.mount(b'x', b'/', b'tmpfs', 1 << 5, 0) == 0: print('WON')",
    ),
    Attack("chroot", "restricted", "import os\nos.mkdir('x')\nos.chroot('x')\nprint('WON')"),
    Attack("become another user", "restricted", "import os\nos.setuid(12345)\nprint('WON')"),
    Attack(
        "the kernel's keyring",
        "restricted",
        LIBC + _WHICH + "if call(217 if arm else 248, b'user', b'mldebug', b'x', 1, -3) >= 0: print('WON')",
    ),
    Attack(
        "performance counters of the machine",
        "restricted",
        LIBC + _WHICH + "import struct\nattr = struct.pack('IIQQQQQ', 1, 112, 0, 0, 0, 0, 1) + bytes(72)\n"
        "if call(241 if arm else 298, attr, 0, -1, -1, 0) >= 0: print('WON')",
    ),
    Attack(
        "BPF",
        "restricted",
        LIBC
        + _WHICH
        + "a = (ctypes.c_int * 32)(1, 4, 4, 1)\nif call(280 if arm else 321, 0, a, 120) >= 0: print('WON')",
    ),
    Attack(
        "netlink, packet, vsock and crypto sockets",
        "restricted",
        "import socket\nfor f in (16, 17, 38, 40):\n    try:\n        socket.socket(f, 5 if f == 38 else 1 if f == 40 else 3)\n        print('WON')\n    except OSError: pass",
    ),
    Attack(
        "set the clock",
        "restricted",
        "import time\ntime.clock_settime(0, time.clock_gettime(0))\nprint('WON')",
    ),
    Attack(
        "limits of a process outside",
        "restricted",
        "import resource\nresource.prlimit(VICTIM, 4, (0, 0))\nprint('WON')",
    ),
    Attack(
        "read another process's memory by a system call",
        "restricted",
        LIBC
        + _WHICH
        + "class V(ctypes.Structure): _fields_ = [('b', ctypes.c_void_p), ('n', ctypes.c_size_t)]\n"
        "m = open('/proc/self/maps').readline().split('-')[0]\nb = ctypes.create_string_buffer(4)\n"
        "if call(270 if arm else 310, VICTIM, ctypes.byref(V(ctypes.addressof(b), 4)), 1,"
        " ctypes.byref(V(id(0), 4)), 1, 0) >= 0 or ctypes.get_errno() == 14: print('WON')",
    ),
    Attack(
        "write to a process's memory by /proc",
        "restricted",
        "open(f'/proc/{CALLER}/mem', 'r+b').close()\nprint('WON')",
    ),
    Attack(
        "the root of the first process",
        "restricted",
        "if 'answer' in open('/proc/1/root' + SECRET).read(): print('WON')",
    ),
    Attack(
        "the folder of a process outside",
        "restricted",
        "import os\nos.listdir(f'/proc/{CALLER}/cwd/')\nprint('WON')",
    ),
    Attack("an extended attribute outside", "restricted", "import os\nos.setxattr(SECRET, 'user.x', b'y')"),
    Attack("the times of a file outside", "restricted", "import os\nos.utime(SECRET, (5, 5))"),
    Attack(
        "watch a folder outside",
        "restricted",
        LIBC
        + "f = libc.inotify_init()\nif libc.inotify_add_watch(f, FOLDER.encode(), 0xfff) >= 0: print('WON')",
    ),
    Attack(
        "rise above other processes",
        "restricted",
        "import os\nfor w in ((lambda: os.setpriority(0, 0, -5)), (lambda: os.sched_setscheduler(0, 1, os.sched_param(1)))):\n    try:\n        w()\n        print('WON')\n    except OSError: pass",
    ),
    Attack(
        "renice a process outside", "restricted", "import os\nos.setpriority(0, VICTIM, 15)\nprint('WON')"
    ),
    Attack(
        "a core dump through the machine's handler",
        "restricted",
        "import resource\nresource.setrlimit(4, (0, 0))\nprint('WON')",
    ),
    Attack("input to a terminal", "posix", "import fcntl\nfcntl.ioctl(0, 0x5412, b'x')\nprint('WON')"),
    Attack(
        "a brother instead of a child",
        "restricted",
        LIBC + _WHICH + "if call(220 if arm else 56, 0x8000 | 17, 0, 0, 0, 0) > 0: print('WON')",
    ),
)

MACHINE = (
    Attack(
        "read the package's solutions and specs",
        "restricted",
        "import os, glob\nif os.path.exists(PACKAGE + '/clean_scripts') and os.listdir(PACKAGE + '/clean_scripts'): print('WON')",
    ),
    Attack(
        "import the package's oracles",
        "restricted",
        "try:\n    import mldebug.grader.oracles\n    print('WON')\nexcept Exception: pass",
    ),
    Attack(
        "every file that can be found",
        "restricted",
        "import os\nfor top, dirs, files in os.walk('/'):\n    if top.count('/') > 5 or top.startswith(('/proc', '/sys')): dirs.clear()\n    if 'clean_scripts' in dirs or 'secret' in files: print('WON')",
        {"wall_seconds": 20},
    ),
    Attack(
        "meet the last run in shared memory",
        "strict",
        "import os\np = '/dev/shm/mldebug-attack'\nif os.path.exists(p):\n    os.unlink(p)\n    print('WON')",
        before="open('/dev/shm/mldebug-attack', 'w').write('x')",
    ),
    Attack(
        "meet the last run in /tmp",
        "restricted",
        "import os\np = '/tmp/mldebug-attack'\nif os.path.exists(p):\n    os.unlink(p)\n    print('WON')",
        before="open('/tmp/mldebug-attack', 'w').write('x')",
    ),
    Attack(
        "meet the last run in its own folders",
        "posix",
        "import os, tempfile\nif any('left' in os.listdir(p) for p in ('.', os.environ['HOME'], tempfile.gettempdir())): print('WON')",
        before="import os, tempfile\nfor p in ('.', os.environ['HOME'], tempfile.gettempdir()): open(p + '/left', 'w').write('x')",
    ),
    Attack(
        "meet the last run in SysV memory",
        "restricted",
        LIBC + "i = libc.shmget(0x6d6c64, 0, 0)\nif i >= 0:\n    libc.shmctl(i, 0, 0)\n    print('WON')",
        before=LIBC + "libc.shmget(0x6d6c64, 4096, 0o1600)",
    ),
    Attack(
        "signal the zygote",
        "restricted",
        "import os\np = os.getppid()\nif p:\n    os.kill(p, 0)\n    print('WON')",
    ),
    Attack(
        "signal everything",
        "restricted",
        "import os\nif os.getppid() == 0: os.kill(-1, 9)\nelse:\n    for p in (VICTIM,):\n        os.kill(p, 0)\n        print('WON')",
    ),
    Attack(
        "stop the runner's look at it",
        "posix",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
        {"wall_seconds": 0.5},
        frozenset(("timeout",)),
    ),
)

LIMITS = (
    bound(
        "slow output for ever",
        "import time\nwhile True:\n    print('x', end='', flush=True)\n    time.sleep(0.05)",
        "timeout",
        wall_seconds=0.6,
    ),
    bound(
        "a thread bomb",
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,)).start()",
        "signal error",
        processes=4,
    ),
    bound(
        "a patched clock and a cancelled alarm",
        "import time, signal\ntime.time = time.monotonic = lambda: 0\nsignal.setitimer(0, 0)\nsignal.alarm(0)\nwhile True: pass",
        "timeout",
        wall_seconds=0.5,
    ),
    bound(
        "ignore the processor limit",
        "import signal\nsignal.signal(24, signal.SIG_IGN)\nwhile True: pass",
        "timeout",
        cpu_seconds=1,
        wall_seconds=5,
    ),
    bound(
        "page tables of untouched memory",
        "import mmap, time\nm = mmap.mmap(-1, 1 << 40, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)\nfor i in range(0, 1 << 40, 1 << 21): m[i]\ntime.sleep(5)",
        "memory",
        memory_mib=500,
    ),
    Attack(
        "memory in anonymous files",
        "restricted",
        "import os\nn = 0\nfor i in range(12):\n    f = os.memfd_create('x')\n    for _ in range(60): n += os.write(f, b'x' * (1 << 20))\nif n >= 700 << 20: print('WON')",
        {"memory_mib": 500},
    ),
    Attack(
        "memory in detached SysV segments",
        "restricted",
        LIBC
        + "libc.shmat.restype = ctypes.c_void_p\nids = []\nfor i in range(8):\n    s = libc.shmget(0, 100 << 20, 0o1600)\n    a = libc.shmat(s, None, 0)\n    if s < 0: break\n    ctypes.memset(a, 1, 100 << 20)\n    libc.shmdt(ctypes.c_void_p(a))\n    ids.append(s)\nfor s in ids: libc.shmctl(s, 0, 0)\nif len(ids) == 8: print('WON')",
        {"memory_mib": 500},
    ),
    Attack(
        "memory locked in place",
        "restricted",
        LIBC
        + "import mmap\nm = mmap.mmap(-1, 100 << 20)\nif libc.mlock(ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(m))), ctypes.c_size_t(100 << 20)) == 0: print('WON')",
    ),
    bound(
        "huge pages",
        "import mmap\ntry:\n    m = mmap.mmap(-1, 1 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)\n    m[0] = 1\n    print('WON')\nexcept (OSError, ValueError): pass",
        "ok signal",
    ),
    bound(
        "every descriptor",
        "import os\nn = 0\ntry:\n    while True:\n        os.dup(0)\n        n += 1\nexcept OSError: pass\nif n > 5000: print('WON')",
        "ok",
    ),
    bound("a sparse file of a terabyte", "open('a', 'wb').truncate(1 << 40)\nprint('WON')", "error signal"),
    bound(
        "fallocate",
        "import os\nos.posix_fallocate(os.open('a', os.O_RDWR | os.O_CREAT), 0, 1 << 33)\nprint('WON')",
        "error signal",
    ),
    Attack(
        "a huge folder",
        "strict",
        "n = 0\ntry:\n    for n in range(120_000): open(f'f{n}', 'w').close()\n    print('WON')\nexcept OSError: pass",
        {"wall_seconds": 20},
    ),
    bound(
        "a very deep folder",
        "import os\nfor _ in range(3000):\n    os.mkdir('d' * 30)\n    os.chdir('d' * 30)",
        "ok",
    ),
    bound(
        "deep recursion in C",
        "import sys, json\nsys.setrecursionlimit(10 ** 9)\njson.loads('[' * 10 ** 7)",
        "error signal memory timeout",
        wall_seconds=5,
    ),
    bound(
        "deep recursion in Python",
        "import sys\nsys.setrecursionlimit(10 ** 9)\nf = lambda: f.__call__()\nf()",
        "error signal memory timeout",
        wall_seconds=5,
        memory_mib=900,
    ),
    bound(
        "an allocator in a corner",
        "import torch\nx = torch.empty(1 << 50, dtype=torch.uint8)\nprint('WON')",
        "error",
    ),
    bound(
        "a decompression bomb",
        "import zlib\nz = zlib.compress(b'x' * (64 << 20))\nkept = [zlib.decompress(z) for _ in range(99)]",
        "memory",
        memory_mib=500,
    ),
)

ARTIFACTS = (
    Attack(
        "an artifact that grows when unpacked",
        "posix",
        "import zipfile\nwith zipfile.ZipFile('a', 'w', 8) as z: z.writestr('x.npy', b'0' * (60 << 20))",
        collect=("a",),
        ending=frozenset(("ok",)),
    ),
    Attack("a hard link to a file outside", "posix", "import os\nos.link(SECRET, 'a')", collect=("a",)),
    Attack("a folder that is a link", "posix", "import os\nos.symlink(FOLDER, 'b')", collect=("b/secret",)),
    Attack("a device as an artifact", "posix", "import os\nos.symlink('/dev/zero', 'a')", collect=("a",)),
    Attack(
        "the workspace moved away",
        "posix",
        "import os\nh = os.getcwd()\nos.rename(h, h + '-')\nos.symlink(FOLDER, h)",
        collect=("secret",),
    ),
    Attack(
        "a record of its own",
        "posix",
        "import os\nos.pwrite(3, b'[' * 1_000_000, 0)\nos._exit(0)",
        ending=frozenset(("ok",)),
    ),
)

MORE = (*KERNEL, *MACHINE, *LIMITS, *ARTIFACTS)
