"""Request → candidate → proof → variant: what `generate` calls."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any, Protocol, TypeVar

from .clean_scripts.data import data_files
from .clean_scripts.library import job_names, load_job, sources
from .errors import NoSiteError, NoValidVariantError, UsageError
from .executors.base import Executor
from .executors.local import Local
from .grader.alert import alert_text
from .grader.evidence import job_data
from .grader.runner import Pool
from .grader.runner.request import Device
from .grader.shared_proofs import SharedProofs
from .grader.validate import Candidate, Validation, validate
from .mutators.analysis import Script, analyse
from .mutators.base import canonical_bugs
from .mutators.bases import STYLE_COUNT, Base, base
from .mutators.compose import Injection, NoCompositionError, choose, edits_of, offers
from .mutators.distractors import Distractor
from .mutators.phrasings import Worded, phrased
from .mutators.workspace import Workspace, splice
from .seeds import DRAWS, ENGINE_VERSION, ENGINES, Draw

Made = TypeVar("Made")

ATTEMPTS = 16
"""Candidates tried for one variant before giving up."""

ACCELERATED = (1, 2)
"""Share of variants without a device bug that run on the accelerator all the same, so that its presence
does not give a device bug away."""

DATA_SEEDS = 2**32


def check_numbers(seed: int, index: int) -> None:
    """Raise UsageError unless both are integers from 0 on."""
    for name, number in (("seed", seed), ("index", index)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise UsageError(f"{name} must be an integer from 0 on, got {number!r}")


@dataclass(frozen=True)
class Request:
    """One variant, asked for. bugs are canonical and sorted; script None lets the seed choose.

    engine: whose variant; one of an earlier engine is made again as it was made then.
    """

    bugs: tuple[str, ...]
    seed: int
    index: int = 0
    script: str | None = None
    engine: str = ENGINE_VERSION

    @classmethod
    def of(
        cls,
        bugs: str | Sequence[str],
        seed: int,
        index: int = 0,
        script: str | None = None,
        engine: str = ENGINE_VERSION,
    ) -> Request:
        """A checked request.

        Raises:
            UsageError: unknown class, script or engine, or a seed or index that is no integer from 0 on.
        """
        check_numbers(seed, index)
        if script is not None:
            load_job(script)
        if engine not in ENGINES:
            raise UsageError(
                f"unknown engine {engine!r}; this version makes variants of {', '.join(ENGINES)}"
            )
        names = canonical_bugs(bugs if isinstance(bugs, str) else list(bugs))
        return cls(names, seed, index, script, engine)


@dataclass(frozen=True)
class Variant:
    """A broken training job, its reference fix, and the hidden truth about it.

    files: path → text of the broken sources; reference: the same paths, correct.
    data: generator, version, seed and SHA-256 of the data files; the files come from `data_files()`.
    alert: what monitoring said of the run that was made; None if unverified.
    injections: the truth, one entry per bug class. attempt: how many candidates were discarded before.
    phrasings: kinds of `mutators.phrasings` in which it differs from its base. distractors: what looks wrong
    in it and is right. engine: what made it.
    """

    id: str
    bugs: tuple[str, ...]
    script: str
    seed: int
    index: int
    attempt: int
    style: int
    device: Device
    entrypoint: str
    files: Mapping[str, str] = field(repr=False)
    reference: Mapping[str, str] = field(repr=False)
    data: Mapping[str, str | int]
    injections: tuple[Injection, ...] = field(repr=False)
    hidden_seed: int
    phrasings: tuple[str, ...] = ()
    distractors: tuple[Distractor, ...] = ()
    engine: str = ENGINE_VERSION
    alert: str | None = None
    validation: Validation | None = None
    discarded: tuple[str, ...] = ()
    proved_before: bool = False
    """Made again from a record of an earlier proof (see `recall`), which was not repeated."""
    shared_with: str | None = None
    """The variant whose proof this is, being the same program on the same data (`SharedProofs`)."""

    @property
    def verified(self) -> bool:
        return self.proved_before or (self.validation is not None and self.validation.ok)

    @property
    def base(self) -> Base:
        """The job, as another engineer would have written it, that the bugs were put into."""
        return base(self.script, self.style)

    def data_files(self) -> dict[str, bytes]:
        """Path → content of the data an agent sees."""
        return data_files(job_data(load_job(self.script), int(self.data["seed"])))


@dataclass(frozen=True)
class Draft:
    """What one attempt drew: the variant it will be if it counts, and the correct job it was made from."""

    variant: Variant
    base: Workspace

    def candidate(self) -> Candidate:
        """What has to be executed: the reference, all bugs, and each bug alone with the others fixed."""
        injections = self.variant.injections
        broken = splice(self.base, edits_of(injections))
        alone = {
            one.bug_class: broken if len(injections) == 1 else splice(self.base, one.edits)
            for one in injections
        }
        return Candidate(
            load_job(self.variant.script),
            self.base,
            broken,
            alone,
            self.variant.device,
            int(self.variant.data["seed"]),
            self.variant.hidden_seed,
        )


class Asks(Protocol):
    """What a request of any kind says."""

    @property
    def bugs(self) -> tuple[str, ...]: ...
    @property
    def seed(self) -> int: ...
    @property
    def index(self) -> int: ...


class Emitted(Protocol):
    """What counts as one variant that came of so many candidates."""

    @property
    def attempt(self) -> int: ...
    @property
    def discarded(self) -> tuple[str, ...]: ...


@dataclass
class Tally:
    """How many candidates were tried, how many variants came of them, and why the rest were discarded."""

    attempted: int = 0
    emitted: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, variant: Emitted) -> None:
        self.attempted += variant.attempt + 1
        self.emitted += 1
        self.reasons.update(reason.split(":")[0] for reason in variant.discarded)

    def discard(self, reasons: Mapping[str, int]) -> None:
        """Count the attempts of a request that gave no variant."""
        self.attempted += sum(reasons.values())
        self.reasons.update(reasons)


def styled_script(name: str, style: int) -> Script:
    """One script in one style, analysed; cached."""
    return base(name, style).script


@cache
def hosted(name: str, engine: str = ENGINE_VERSION) -> frozenset[str]:
    """The bug classes that a script of the library has sites for."""
    known = ENGINES[: ENGINES.index(engine) + 1]
    return frozenset(bug for bug, since in _hosted_since(name) if since in known)


@cache
def _hosted_since(name: str) -> frozenset[tuple[str, str]]:
    """The classes that a script has sites for, each with every engine that began to offer one."""
    clean = offers(analyse(Workspace(sources(name), load_job(name).entrypoint)))
    return frozenset((bug, one.since) for bug, found in clean.items() for one in found)


def hosts(bugs: tuple[str, ...]) -> tuple[str, ...]:
    """The scripts that have sites for every one of these classes, sorted. Looks at the whole library, which
    takes seconds; `can_host` stops at the first."""
    return tuple(name for name in job_names() if hosted(name).issuperset(bugs))


def can_host(bugs: tuple[str, ...], script: str | None = None, engine: str = ENGINE_VERSION) -> bool:
    """Whether a script, by default any one of the library, has sites for every one of these classes."""
    return any(hosted(name, engine).issuperset(bugs) for name in job_names() if script in (None, name))


def check_hosts(request: Request) -> None:
    """Raises:
    NoSiteError: no script, or not the one asked for, has sites for all classes.
    """
    if not can_host(request.bugs, request.script, request.engine):
        raise _no_host(request)


def _no_host(request: Request) -> NoSiteError:
    bugs = ", ".join(request.bugs)
    if request.script is None:
        return NoSiteError(
            f"no script can host {bugs} together; "
            f"ask for fewer classes (`mldebug list scripts` shows what each can host)"
        )
    able = hosts(request.bugs)
    hint = f"these can: {', '.join(able)}" if able else "no script of the library can"
    return NoSiteError(f"{request.script} has no sites for {bugs} together; {hint}")


def drawn_script(request: Request, root: Draw) -> str:
    """The script of one attempt. Of those that can host its classes each is equally likely, and a script that
    the library gains takes its share from all others and changes nothing else (rendezvous hashing).

    Raises:
        NoSiteError: none can.
    """
    for name in sorted(job_names(), key=lambda name: root.number("script", name)):
        if request.script in (None, name) and can_host(request.bugs, name, request.engine):
            return name
    raise _no_host(request)


def drawn_base(request: Request, attempt: int) -> tuple[str, int, Draw]:
    """The script of one attempt, its style, and what everything else is drawn from.

    Raises:
        NoSiteError: no script can host the classes.
    """
    root = Draw("variant", DRAWS, request.bugs, request.seed, request.index, attempt)
    name = drawn_script(request, root)
    draw = root.child("script", name)
    return name, draw.below(STYLE_COUNT, "style"), draw


def draft(request: Request, attempt: int) -> Draft:
    """The candidate of one attempt: pure, nothing runs.

    Raises:
        NoSiteError: no script can host the classes.
        NoCompositionError: this style's sites for them overlap whatever is chosen.
    """
    name, style, draw = drawn_base(request, attempt)
    made = base(name, style)
    chosen = choose(made.workspace, made.offers, request.bugs, draw.child("injection"), request.engine)
    worded = written(request, made, chosen, draw)
    clean, injections = worded.workspace, worded.injections
    broken = splice(clean, edits_of(injections))
    on_accelerator = "wrong_device" in request.bugs or draw.chance(*ACCELERATED, "device")
    device: Device = "cuda" if on_accelerator else "cpu"
    visible, hidden = draw.below(DATA_SEEDS, "visible data"), draw.below(DATA_SEEDS, "hidden data")
    data = describe_data(name, visible)
    variant = Variant(
        id=opaque_id(broken, str(data["sha256"])),
        bugs=request.bugs,
        script=name,
        seed=request.seed,
        index=request.index,
        attempt=attempt,
        style=style,
        device=device,
        entrypoint=clean.entrypoint,
        files=dict(broken.sources),
        reference=dict(clean.sources),
        data=data,
        injections=injections,
        hidden_seed=hidden,
        phrasings=worded.kinds,
        distractors=tuple(
            replace(one, line=worded.line(made.workspace, one.file, one.line)) for one in made.distractors
        ),
        engine=request.engine,
    )
    return Draft(variant, clean)


def written(request: Request, made: Base, injections: tuple[Injection, ...], draw: Draw) -> Worded:
    """The base as this variant puts it."""
    if request.engine == ENGINES[0]:
        return Worded(made.workspace, injections)
    return phrased(made.workspace, made.phrasings, injections, draw.child("phrasing"))


def describe_data(name: str, seed: int) -> dict[str, str | int]:
    """Generator, seed and SHA-256 (over path and content of every data file) of a job's data."""
    spec = load_job(name)
    total = hashlib.sha256()
    for path, content in sorted(data_files(job_data(spec, seed)).items()):
        total.update(f"{path}\0{len(content)}\0".encode())
        total.update(content)
    generator, _, version = spec.generator.partition("/")
    return {"generator": generator, "version": version, "seed": seed, "sha256": total.hexdigest()}


def opaque_id(workspace: Workspace, data_sha256: str) -> str:
    """A truncated SHA-256 of what an agent can see: sources and data, never the request."""
    text = json.dumps([workspace.entrypoint, workspace.sources, data_sha256], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def unverified(request: Request) -> Variant:
    """A variant that nothing has executed: its first candidate that can be composed."""
    reasons: list[str] = []
    for attempt in range(ATTEMPTS):
        try:
            return replace(draft(request, attempt).variant, discarded=tuple(reasons))
        except NoCompositionError as error:
            reasons.append(f"overlap: {error}")
    raise exhausted(request, reasons)


def verified(request: Request, run: Any, shared: SharedProofs | None = None) -> Variant:
    """A variant that was executed and failed the way its classes fail, and whose reference passed.

    shared: proofs of this run; where one is of the same program, on the same data, it is taken.

    Raises:
        NoValidVariantError: every candidate was discarded; it holds the reasons, counted.
    """
    reasons: list[str] = []
    for attempt in range(ATTEMPTS):
        try:
            drawn = draft(request, attempt)
        except NoCompositionError as error:
            reasons.append(f"overlap: {error}")
            continue
        candidate = drawn.candidate()
        if shared and (proof := shared.find(candidate)):
            return replace(
                drawn.variant,
                alert=proof.alert,
                validation=proof.validation,
                discarded=tuple(reasons),
                shared_with=proof.id,
            )
        validation = validate(candidate, run)
        if validation.ok:
            assert validation.broken is not None
            alert = alert_text(validation.broken)
            if shared:
                shared.add(drawn.variant.id, candidate, validation, alert)
            return replace(drawn.variant, alert=alert, validation=validation, discarded=tuple(reasons))
        reasons.append(f"{validation.discarded} [{describe(drawn.variant)}]")
    raise exhausted(request, reasons)


@dataclass(frozen=True)
class Proof:
    """The record of an earlier proof: which task it proved, and what it said."""

    id: str
    attempt: int
    alert: str
    discarded: tuple[str, ...]


Known = Callable[[int], Proof | None]
"""Index → its earlier proof."""


def recall(request: Request, proof: Proof) -> Variant | None:
    """The variant that an earlier proof of this request ended with; nothing runs.

    None where that attempt gives another task than the one that was proved: then the record is of another
    request.
    """
    if not 0 <= proof.attempt < ATTEMPTS:
        return None
    try:
        variant = draft(request, proof.attempt).variant
    except NoCompositionError:
        return None
    if variant.id != proof.id:
        return None
    return replace(variant, alert=proof.alert, discarded=proof.discarded, proved_before=True)


def describe(variant: Variant) -> str:
    """Script, style and manifestations, for the reasons of a discard."""
    parts = [f"{one.bug_class}/{one.manifestation}" for one in variant.injections]
    return f"{variant.script} style {variant.style}: {', '.join(parts)}"


def counted(reasons: Mapping[str, int], separator: str = "; ") -> str:
    """`12 × equivalent leakage; 4 × masked`: the most frequent first, whatever order they were counted in."""
    ordered = sorted(reasons.items(), key=lambda one: (-one[1], one[0]))
    return separator.join(f"{count} × {reason}" for reason, count in ordered)


def no_variant(asked: Asks, reasons: Mapping[str, int], advice: str = "") -> NoValidVariantError:
    """The error of a request all of whose candidates were discarded, for these reasons."""
    return NoValidVariantError(
        f"no valid variant of {', '.join(asked.bugs)} for seed {asked.seed}, index {asked.index} "
        f"in {sum(reasons.values())} attempts ({counted(reasons)}); "
        f"{advice or 'try another seed or another script'}",
        reasons,
    )


def exhausted(asked: Asks, reasons: Sequence[str], advice: str = "") -> NoValidVariantError:
    """The same, of one reason for each candidate, which may have details behind a colon."""
    return no_variant(asked, Counter(reason.split(":")[0] for reason in reasons), advice)


def generate(
    bugs: str | Sequence[str],
    seed: int,
    index: int = 0,
    *,
    script: str | None = None,
    verify: bool = True,
    pool: Pool | None = None,
) -> Variant:
    """One variant: the same for the same arguments, whatever was generated before.

    Args:
        bugs: class names, short or canonical, as a list or as `"shape,device"`; compounds by name too.
        seed: an integer from 0 on. index: which of the seed's independent variants.
        script: a job of the library; by default the seed chooses.
        verify: prove it by execution (some seconds; the default).
        pool: a running pool to use; by default one is started for this call, which costs seconds.

    Raises:
        UsageError: unknown names or bad numbers; NoSiteError (one of them) where no script can host the set.
        NoValidVariantError: all candidates were discarded.
    """
    request = Request.of(bugs, seed, index, script)
    if not verify:
        return unverified(request)
    with ExitStack() as stack:
        runner = pool or stack.enter_context(Pool(1))
        return verified(request, runner.run)


@dataclass(frozen=True)
class Exhausted:
    """A request that gave no variant, and why: reason → how many of its attempts were discarded for it."""

    request: Asks
    reasons: Mapping[str, int]


@dataclass(frozen=True)
class Proving:
    """What becomes of a request, given the record of an earlier proof, if there is one (see
    `executors.base.Recipe`). share: see `outcomes`."""

    verify: bool = True
    share: bool = False

    def begin(self, pool: Pool) -> Callable[[tuple[Request, Proof | None]], Variant | Exhausted]:
        shared = SharedProofs() if self.share else None

        def prove(pair: tuple[Request, Proof | None]) -> Variant | Exhausted:
            request, before = pair
            if not self.verify:
                return outcome(lambda: unverified(request), request)
            return outcome(
                lambda: (before and recall(request, before)) or verified(request, pool.run, shared), request
            )

        return prove


def outcomes(
    requests: Iterable[Request],
    *,
    jobs: int = 1,
    verify: bool = True,
    known: Known | None = None,
    share: bool = False,
    require: str | None = None,
    executor: Executor | None = None,
) -> Generator[Variant | Exhausted]:
    """What comes of requests, in their order, `jobs` at a time. Memory does not grow with how many there are.

    known: index → the earlier proof of one that is not to be executed again. Called in the order of the
        requests, from the caller's thread, at most twice `jobs` ahead of what was yielded.
    share: let variants that are the same program on the same data share a proof; `shared_with` says so.
        Processes that do not share their memory do not do so either.
    require: guarantees of the sandbox without which nothing runs (see `Pool`).
    executor: does the work instead of `jobs` threads with what they `require`.
    """
    where = executor or Local(jobs, require=require)
    pairs = ((request, known(request.index) if known else None) for request in requests)
    if not verify and not where.remote:
        for request, _before in pairs:
            yield outcome(partial(unverified, request), request)
        return
    yield from where.in_order(Proving(verify, share and not where.remote), pairs)


def outcome(make: Callable[[], Made], request: Asks) -> Made | Exhausted:
    """What `make` gives, or that it gave nothing valid."""
    try:
        return make()
    except NoValidVariantError as error:
        return Exhausted(request, error.reasons)


def generate_many(
    requests: Iterable[Request], *, jobs: int = 1, verify: bool = True, require: str | None = None
) -> Iterator[Variant]:
    """Variants in the order of the requests, `jobs` at a time, with bounded memory (see `outcomes`).

    Raises:
        NoValidVariantError: of the first request that gives none, after those before it were yielded.
    """
    with closing(outcomes(requests, jobs=jobs, verify=verify, require=require)) as made:
        for one in made:
            if isinstance(one, Exhausted):
                raise no_variant(one.request, one.reasons)
            yield one
