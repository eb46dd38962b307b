"""The words of the sandbox: tiers, guarantees, what each means, and what somebody may require."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ...errors import UsageError

TIERS = ("strict", "restricted", "posix")
"""From the strongest to the weakest."""

GUARANTEES: Mapping[str, str] = {
    "no_network": "no connection to anything outside: TCP, abstract and pathname Unix sockets",
    "no_write": "no file, mode or time outside the run's own folders changes",
    "no_read": "nothing but the interpreter, the needed libraries and the run's own files can be read",
    "no_signal": "no process outside the run can be signalled",
    "no_survivor": "no process outlives its run",
    "no_memory_between_runs": "nothing a run leaves (files, shared memory, SysV IPC) is met by the next",
    "bounded_memory": "resident memory and files of the whole process tree",
    "bounded_time": "wall-clock and processor time",
    "bounded_processes": "processes and threads of the whole tree",
    "bounded_output": "what is kept of stdout and stderr, and the size of a file",
}

REQUIRE_VARIABLE = "MLDEBUG_REQUIRE"
TIER_VARIABLE = "MLDEBUG_TIER"

HELP: Mapping[str, str] = {
    "strict": (
        "strict needs Linux 5.14 or later on x86_64 or aarch64 with user namespaces, Landlock and seccomp: "
        "try `sysctl user.max_user_namespaces=15000` and "
        "`sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or in Docker "
        "`--security-opt seccomp=unconfined --security-opt systempaths=unconfined`"
    ),
    "restricted": (
        "restricted needs Landlock and seccomp (Linux 5.13 or later; in a container, a seccomp profile that "
        "admits landlock_*)"
    ),
}


def parse(text: str) -> frozenset[str]:
    """What `strict` or `no_network,no_read` requires, as guarantees and tiers; `posix` requires no guarantee.

    Raises:
        UsageError: a name that is neither.
    """
    names = frozenset(name.strip() for name in text.split(",") if name.strip())
    if unknown := sorted(names - set(TIERS) - set(GUARANTEES)):
        raise UsageError(
            f"unknown requirement {unknown[0]!r}; known are the tiers {', '.join(TIERS)} "
            f"and the guarantees {', '.join(GUARANTEES)}"
        )
    return names


def required(asked: str | None) -> frozenset[str]:
    """The requirement: as asked for, or else that of the environment (MLDEBUG_REQUIRE)."""
    return parse(os.environ.get(REQUIRE_VARIABLE, "") if asked is None else asked)


def highest_tier() -> str:
    """Where the search for a tier begins: `strict`, unless MLDEBUG_TIER or a real accelerator say otherwise.

    Raises:
        UsageError: MLDEBUG_TIER names no tier.
    """
    tier = os.environ.get(TIER_VARIABLE, "") or TIERS[0]
    if tier not in TIERS:
        raise UsageError(f"{TIER_VARIABLE}={tier!r} is no tier; choose {', '.join(TIERS)}")
    return "posix" if os.environ.get("MLDEBUG_DEVICE") == "cuda" else tier


def why_not_strict() -> str:
    """Why the search for a tier does not begin at the top; empty where it does."""
    if os.environ.get("MLDEBUG_DEVICE") == "cuda":
        return "a real accelerator (MLDEBUG_DEVICE=cuda) needs its driver's devices, which no jail shows"
    tier = os.environ.get(TIER_VARIABLE, "")
    return f"{TIER_VARIABLE}={tier} asks for it" if tier and tier != TIERS[0] else ""


def unmet(wanted: frozenset[str], tier: str, lacking: Mapping[str, str]) -> str:
    """What is wanted and not given, with the reasons and what would help; empty when all is given.

    lacking: guarantee or tier → why it could not be given.
    """
    missing = [name for name in GUARANTEES if name in wanted and name in lacking]
    tiers = [name for name in TIERS if name in wanted and TIERS.index(name) < TIERS.index(tier)]
    if not missing and not tiers:
        return ""
    reasons = [f"{name}: {lacking.get(name) or 'not given'}" for name in (*tiers, *missing)]
    helps = [HELP[name] for name in tiers or TIERS[:1] if name in HELP and tier != "strict"]
    return (
        f"this machine gives the tier {tier!r}, which lacks what is required: "
        + "; ".join(reasons)
        + "".join(f". {text}" for text in helps)
    )
