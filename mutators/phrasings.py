"""Other ways to say the same thing, drawn for each variant.

A base is made once and kept (`bases`), with the places where its authors could as well have written something
else of the same value: `len(x)` for `x.shape[0]`, a default said aloud, an older `super()`, a helper function
more or less (`helpers`). A variant draws which of them it has. Every phrasing computes the same bits in the
same order, and does not touch what a bug rewrites.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import libcst as cst

from ..seeds import Draw
from .analysis import Script, dotted
from .base import Site
from .collapse_places import local_name
from .compose import Injection
from .editing import argument
from .helpers import Places, Way, extracted, inlined
from .idioms import calls_on
from .modes import switch_mode
from .workspace import Edit, Workspace, conflicts, splice

USED = (1, 6)
"""Share of the places that a variant words otherwise. A place that a bug rewrites itself keeps the words of
its base: so must nearly all others, or it would stand out."""

RARER = {"extracted": (1, 12), "inlined": (1, 3)}
"""The same of kinds that change more than a word."""


@dataclass(frozen=True, slots=True)
class Phrasing:
    """A place, and other ways to write what stands there.

    callee: the bytes of the function that a default is said of: it holds for no other.
    """

    kind: str
    ways: tuple[Way, ...]
    callee: tuple[int, int] | None = None

    def fits(self, way: Way, bugs: Sequence[Edit], sites: Sequence[Site]) -> bool:
        """Whether bugs can be put into it as before: they and it lie apart, or next to each other."""
        if any(one.overlaps(bug) for one in way for bug in bugs):
            return False
        if self.callee is not None and any(
            bug.file == way[0].file and bug.start < self.callee[1] and self.callee[0] < bug.end
            for bug in bugs
        ):
            return False
        return not any(
            one.file == site.file and one.start < edge < one.end
            for one in way
            for site in sites
            for edge in (site.start, site.end)
        )


@dataclass(frozen=True)
class Worded:
    """A workspace in other words. kinds: of the phrasings that were taken; edits: they themselves."""

    workspace: Workspace
    injections: tuple[Injection, ...]
    kinds: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = ()

    def line(self, before: Workspace, file: str, line: int) -> int:
        """Where a line of the workspace as it was stands now; both from 1 on."""
        data = before.files[file].encode()
        start = sum(len(one) for one in data.split(b"\n")[: line - 1]) + line - 1
        earlier = [one for one in self.edits if one.file == file and one.end <= start]
        grown = (one.replacement.count("\n") - data[one.start : one.end].count(b"\n") for one in earlier)
        return line + sum(grown)


def phrasings(script: Script) -> tuple[Phrasing, ...]:
    """All places of a script, by kind, each kind in source order."""
    found = []
    for kind, places in _kinds(script):
        for node, ways in places:
            kept = tuple(
                way for way in ways if kind in RARER or all(_keeps_lines(script, edit) for edit in way)
            )
            if kept:
                of_call = kind not in KINDS and isinstance(node, cst.Call)
                callee = script.span(node.func) if of_call else None  # type: ignore[attr-defined]
                found.append(Phrasing(kind, kept, callee))
    return tuple(sorted(found, key=lambda one: (one.kind, one.ways)))


def phrased(
    workspace: Workspace, places: Sequence[Phrasing], injections: Sequence[Injection], draw: Draw
) -> Worded:
    """The workspace in other words, and what lies in it where it lies now."""
    bugs = [edit for one in injections for edit in one.edits]
    sites = [one.site for one in injections]
    taken: list[Edit] = []
    kinds = set()
    drawn = [
        number
        for number, one in enumerate(places)
        if draw.chance(*RARER.get(one.kind, USED), "place", one.kind, number)
    ]
    for number in draw.shuffled(drawn, "order"):
        way = draw.choose(places[number].ways, "way", number)
        if places[number].fits(way, bugs, sites) and not conflicts((*taken, *way)):
            taken += way
            kinds.add(places[number].kind)
    moved = tuple(_moved(one, taken) for one in injections)
    # A mutant of it is compiled, in which all of this text stands.
    worded = splice(workspace, taken, check=False) if taken else workspace
    return Worded(worded, moved, tuple(sorted(kinds)), tuple(taken))


def _moved(injection: Injection, taken: Sequence[Edit]) -> Injection:
    """An injection after edits none of which overlaps its own."""

    def place(one: Edit | Site) -> tuple[int, int]:
        ours = [edit for edit in taken if edit.file == one.file]
        start = sum(_growth(edit) for edit in ours if edit.end <= one.start)
        end = sum(_growth(edit) for edit in ours if edit.start < one.end)
        return one.start + start, one.end + end

    start, end = place(injection.site)
    edits = (Edit(one.file, *place(one), one.replacement) for one in injection.edits)
    return replace(injection, site=replace(injection.site, start=start, end=end), edits=tuple(edits))


def _growth(edit: Edit) -> int:
    return len(edit.replacement.encode()) - (edit.end - edit.start)


def _keeps_lines(script: Script, edit: Edit) -> bool:
    """Whether nothing but text within a line is replaced, so that every line keeps its number."""
    file = next(one for one in script.files if one.name == edit.file)
    return b"\n" not in file.data[edit.start : edit.end]


def _edit(script: Script, node: cst.CSTNode, start: int, end: int, text: str) -> Edit:
    return Edit(script.file(node).name, start, end, text)


def _instead(script: Script, node: cst.CSTNode, text: str) -> Edit:
    return _edit(script, node, *script.span(node), text)


def _is_primary(node: cst.BaseExpression) -> bool:
    """Whether a method can be called on an expression as it stands."""
    return isinstance(node, (cst.Name, cst.Attribute, cst.Subscript, cst.Call)) and not node.lpar


# -- functions and methods -------------------------------------------------------------------------------

ALONE = frozenset({"relu", "sigmoid", "tanh"})
OF_TENSORS = frozenset(
    {"abs", "argmax", "exp", "log", "log_softmax", "relu", "sigmoid", "softmax", "sqrt", "sum", "tanh"}
)
"""Functions of torch that are methods of their first argument as well."""

BOTH = frozenset({"relu", "sigmoid", "tanh", "softmax", "log_softmax"})
"""Functions that `torch` and `torch.nn.functional` both have."""


def _methods(script: Script) -> Places:
    """`torch.sigmoid(x)` is `x.sigmoid()`, `F.relu(x)` is `torch.relu(x)`."""
    for call in script.calls():
        name = script.resolve(call.func) or ""
        short = name.removeprefix("torch.nn.functional.").removeprefix("torch.")
        if short not in OF_TENSORS or not call.args or (short in ALONE and len(call.args) > 1):
            continue
        first = call.args[0]
        if first.keyword is not None or first.star:
            continue
        ways: list[Way] = []
        if short in BOTH and name != f"torch.{short}" and (torch := local_name(script, call, "torch")):
            ways.append((_instead(script, call.func, f"{torch}.{short}"),))
        if _is_primary(first.value):
            (start, end), (left, right) = script.span(call), script.span(first.value)
            behind = script.span(call.args[1])[0] if len(call.args) > 1 else end - 1
            opened = _edit(script, call, start, left, "")
            ways.append((opened, _edit(script, call, right, behind, f".{short}(")))
        if ways:
            yield call, ways


def _products(script: Script) -> Places:
    """`torch.matmul(a, b)` is `a @ b`."""
    for call in script.calls("torch.matmul"):
        if len(call.args) == 2 and all(arg.keyword is None and not arg.star for arg in call.args):
            one, other = (arg.value for arg in call.args)
            if _is_primary(one) and _is_primary(other):
                yield call, [(_instead(script, call, f"({script.text(one)} @ {script.text(other)})"),)]


def _powers(script: Script) -> Places:
    """`x.square()` is `x.pow(2)`."""
    for call in script.method_calls("square", "pow"):
        assert isinstance(call.func, cst.Attribute)
        name, given = call.func.attr.value, [script.text(arg) for arg in call.args]
        if (name, given) in (("square", []), ("pow", ["2"])):
            end = script.span(call)[1]
            start = script.span(call.func.attr)[0]
            other = "pow(2)" if name == "square" else "square()"
            yield call, [(_edit(script, call, start, end, other),)]


def _lengths(script: Script) -> Places:
    """`x.shape[0]` is `len(x)`, `x.size(0)` is `x.shape[0]`."""
    own = {one.name.value for one in script.functions()} | {
        param.name.value for param in script.nodes(cst.Param)
    }
    for node in script.nodes(cst.Subscript):
        shape, (element, *more) = node.value, node.slice
        index = element.slice.value if isinstance(element.slice, cst.Index) else None
        if more or not isinstance(index, cst.Integer) or index.value != "0" or "len" in own:
            continue
        if isinstance(shape, cst.Attribute) and shape.attr.value == "shape" and _is_primary(shape.value):
            (start, end), behind = script.span(node), script.span(shape.value)[1]
            yield (
                node,
                [(_edit(script, node, start, start, "len("), _edit(script, node, behind, end, ")"))],
            )
    for call in script.method_calls("size"):
        assert isinstance(call.func, cst.Attribute)
        if len(call.args) == 1 and isinstance(call.args[0].value, cst.Integer):
            start, end = script.span(call.func.attr)[0], script.span(call)[1]
            text = f"shape[{script.text(call.args[0].value)}]"
            yield call, [(_edit(script, call, start, end, text),)]


def _views(script: Script) -> Places:
    """What `view` gives, `reshape` gives."""
    for call in script.method_calls("view"):
        assert isinstance(call.func, cst.Attribute)
        kinds = [script.resolve(arg.value) for arg in call.args]
        if call.args and not any(kinds):  # `x.view(torch.int32)` reads the same bytes as another type
            yield call, [(_instead(script, call.func.attr, "reshape"),)]


NEW_AXIS = {"0": "[None]", "1": "[:, None]", "2": "[:, :, None]", "-1": "[..., None]"}


def _new_axes(script: Script) -> Places:
    """`x.unsqueeze(1)` is `x[:, None]`."""
    for call in script.method_calls("unsqueeze"):
        assert isinstance(call.func, cst.Attribute)
        text = NEW_AXIS.get(script.text(call.args[0].value)) if len(call.args) == 1 else None
        if text is not None and _is_primary(call.func.value):
            start, end = script.span(call.func.value)[1], script.span(call)[1]
            yield call, [(_edit(script, call, start, end, text),)]


_LOSS = re.compile(r"(?:\w*_)?(?:loss|error|penalty)(?:_\w*)?")


def _numbers(script: Script) -> Places:
    """`loss.item()` is `float(loss.detach())`: a loss is a number with a fraction."""
    for call in script.method_calls("item"):
        assert isinstance(call.func, cst.Attribute)
        if not call.args and isinstance(call.func.value, cst.Name) and _LOSS.fullmatch(call.func.value.value):
            yield call, [(_instead(script, call, f"float({call.func.value.value}.detach())"),)]


# -- statements and contexts -----------------------------------------------------------------------------


def _contexts(script: Script) -> Places:
    """`with torch.no_grad()` is `with torch.set_grad_enabled(False)`."""
    for item in script.nodes(cst.WithItem):
        call = item.item
        if not isinstance(call, cst.Call) or script.resolve(call.func) != "torch.no_grad" or call.args:
            continue
        if torch := local_name(script, call, "torch"):
            yield call, [(_instead(script, call, f"{torch}.set_grad_enabled(False)"),)]


def _modes(script: Script) -> Places:
    """`model.train()` is `model.train(True)`, `model.eval()` is `model.train(False)`."""
    for call in calls_on(script, "model", "train", "eval"):
        assert isinstance(call.func, cst.Attribute)
        if not call.args and (mode := switch_mode(call)):
            start, end = script.span(call.func.attr)[0], script.span(call)[1]
            yield call, [(_edit(script, call, start, end, f"train({mode == 'train'})"),)]


def _cleared(script: Script) -> Places:
    """`zero_grad(set_to_none=True)` is what `zero_grad()` does."""
    for call in (*calls_on(script, "optimizer", "zero_grad"), *calls_on(script, "model", "zero_grad")):
        start, end = script.span(call.func)[1], script.span(call)[1]
        given = [re.sub(r"\s", "", script.text(arg)) for arg in call.args]
        if not given:
            yield call, [(_edit(script, call, start, end, "(set_to_none=True)"),)]
        elif given == ["set_to_none=True"]:
            yield call, [(_edit(script, call, start, end, "()"),)]


def _supers(script: Script) -> Places:
    """`super()` in a class of the top level is `super(Net, self)`."""
    for call in script.calls():
        if not isinstance(call.func, cst.Name) or call.func.value != "super" or call.args:
            continue
        owner, method = script.class_of(call), script.function(call)
        if owner is None or method is None or script.class_of(owner) or script.function(owner):
            continue
        if (
            script.method(owner, method.name.value) is method
            and method.params.params
            and not method.decorators
        ):
            text = f"super({owner.name.value}, {method.params.params[0].name.value})"
            yield call, [(_instead(script, call, text),)]


def _ranges(script: Script) -> Places:
    """`range(n)` is `range(0, n)`."""
    for call in script.calls():
        if dotted(call.func) == "range" and len(call.args) == 1 and not call.args[0].star:
            start = script.span(call.args[0])[0]
            yield call, [(_edit(script, call, start, start, "0, "),)]


_ORDERS = {cst.LessThan: ">", cst.GreaterThan: "<", cst.LessThanEqual: ">=", cst.GreaterThanEqual: "<="}


def _comparisons(script: Script) -> Places:
    """`loss < best` is `best > loss`."""
    for node in script.nodes(cst.Comparison):
        if len(node.comparisons) != 1 or node.lpar:
            continue
        one, (target,) = node.left, node.comparisons
        other, sign = target.comparator, _ORDERS.get(type(target.operator))
        plain = all(isinstance(side, (cst.Name, cst.Attribute)) and not side.lpar for side in (one, other))
        if sign and plain:
            yield node, [(_instead(script, node, f"{script.text(other)} {sign} {script.text(one)}"),)]


_SIGNS = {cst.AddAssign: "+", cst.SubtractAssign: "-"}


def _sums(script: Script) -> Places:
    """`total += loss.item()` is `total = total + loss.item()`, of numbers."""
    for node in script.nodes(cst.AugAssign):
        sign = _SIGNS.get(type(node.operator))
        if sign and isinstance(node.target, cst.Name) and _is_number(node.value):
            text = script.text(node.value)
            plain = _is_primary(node.value) or isinstance(node.value, (cst.Integer, cst.Float))
            right = text if plain else f"({text})"
            name = node.target.value
            if _starts_as_number(script, node, name):
                yield node, [(_instead(script, node, f"{name} = {name} {sign} {right}"),)]


def _starts_as_number(script: Script, node: cst.CSTNode, name: str) -> bool:
    """Whether all that binds a name in its scope are plain numbers and sums like this one."""
    for write in script.writes(name, script.scope(node)):
        if isinstance(write, cst.AugAssign):
            continue
        if not isinstance(write, cst.Assign) or not isinstance(write.value, (cst.Integer, cst.Float)):
            return False
    return any(isinstance(one, cst.Assign) for one in script.writes(name, script.scope(node)))


def _is_number(value: cst.BaseExpression) -> bool:
    if isinstance(value, (cst.Integer, cst.Float)):
        return True
    if isinstance(value, cst.BinaryOperation) and isinstance(value.operator, (cst.Multiply, cst.Add)):
        return _is_number(value.left) and _is_number(value.right)
    if not isinstance(value, cst.Call):
        return False
    if isinstance(value.func, cst.Attribute):
        return value.func.attr.value == "item" and not value.args
    return isinstance(value.func, cst.Name) and value.func.value in {"float", "int", "len"}


_WORD = re.compile(r"[A-Za-z_]\w*")


def _dicts(script: Script) -> Places:
    """`{"loss": x}` is `dict(loss=x)`."""
    for node in script.nodes(cst.Dict):
        pairs = []
        for element in node.elements:
            key = element.key if isinstance(element, cst.DictElement) else None
            word = key.evaluated_value if isinstance(key, cst.SimpleString) else None
            if not isinstance(word, str) or not _WORD.fullmatch(word) or keyword.iskeyword(word):
                break
            pairs.append((word, script.text(element.value) if element.value else ""))
        else:
            if pairs and len({word for word, _ in pairs}) == len(pairs):
                inside = ", ".join(f"{word}={text}" for word, text in pairs)
                yield node, [(_instead(script, node, f"dict({inside})"),)]


# -- defaults --------------------------------------------------------------------------------------------

_LOSS_KINDS = ("CrossEntropyLoss", "MSELoss", "BCEWithLogitsLoss", "L1Loss", "SmoothL1Loss", "HuberLoss")
_LOSS_FUNCTIONS = (
    *("cross_entropy", "mse_loss", "binary_cross_entropy_with_logits", "l1_loss", "smooth_l1_loss"),
    *("huber_loss", "nll_loss", "gaussian_nll_loss"),
)

DEFAULTS: dict[str, tuple[tuple[str, str], ...]] = {
    "torch.nn.Linear": (("bias", "True"),),
    "torch.nn.Conv1d": (("stride", "1"), ("groups", "1"), ("bias", "True")),
    "torch.nn.Conv2d": (("stride", "1"), ("dilation", "1"), ("bias", "True")),
    "torch.nn.Embedding": (("sparse", "False"),),
    "torch.nn.Dropout": (("inplace", "False"),),
    "torch.nn.ReLU": (("inplace", "False"),),
    "torch.nn.BatchNorm1d": (("momentum", "0.1"), ("eps", "1e-5")),
    "torch.nn.BatchNorm2d": (("momentum", "0.1"), ("eps", "1e-5")),
    "torch.nn.LayerNorm": (("eps", "1e-5"),),
    "torch.nn.GroupNorm": (("eps", "1e-5"),),
    "torch.nn.GRU": (("bidirectional", "False"), ("bias", "True")),
    "torch.nn.LSTM": (("bidirectional", "False"), ("bias", "True")),
    "torch.nn.Flatten": (("start_dim", "1"),),
    **{f"torch.nn.{kind}": (("reduction", '"mean"'),) for kind in _LOSS_KINDS},
    **{f"torch.nn.functional.{name}": (("reduction", '"mean"'),) for name in _LOSS_FUNCTIONS},
    "torch.optim.SGD": (("nesterov", "False"), ("dampening", "0.0")),
    "torch.optim.Adam": (("betas", "(0.9, 0.999)"), ("eps", "1e-8"), ("amsgrad", "False")),
    "torch.optim.AdamW": (("betas", "(0.9, 0.999)"), ("eps", "1e-8"), ("amsgrad", "False")),
    "torch.optim.RMSprop": (("alpha", "0.99"), ("centered", "False")),
    "torch.optim.lr_scheduler.StepLR": (("gamma", "0.1"),),
    "torch.optim.lr_scheduler.CosineAnnealingLR": (("eta_min", "0.0"),),
    "torch.nn.utils.clip_grad_norm_": (("norm_type", "2.0"),),
    "torch.utils.data.DataLoader": (("drop_last", "False"), ("num_workers", "0")),
    "torch.cat": (("dim", "0"),),
    "torch.stack": (("dim", "0"),),
    "numpy.load": (("allow_pickle", "False"),),
}
"""Callable → arguments with their defaults (the signatures of torch 2.13 and numpy 2), as a person would say
them. `nesterov` asks for a momentum only where it is true."""

FIRST_OPTIONAL = {
    "torch.nn.Linear": 2,
    "torch.nn.Conv1d": 3,
    "torch.nn.Conv2d": 3,
    "torch.nn.Embedding": 2,
    "torch.nn.GRU": 2,
    "torch.nn.LSTM": 2,
    "torch.optim.SGD": 2,
    "torch.optim.Adam": 2,
    "torch.optim.AdamW": 2,
    "torch.optim.RMSprop": 2,
    "torch.optim.lr_scheduler.StepLR": 2,
    "torch.optim.lr_scheduler.CosineAnnealingLR": 2,
    "torch.nn.utils.clip_grad_norm_": 2,
    "torch.utils.data.DataLoader": 2,
    "torch.nn.GroupNorm": 2,
    "torch.nn.functional.gaussian_nll_loss": 3,
    **{f"torch.nn.functional.{name}": 2 for name in _LOSS_FUNCTIONS if name != "gaussian_nll_loss"},
    **dict.fromkeys((f"torch.nn.{kind}" for kind in (*_LOSS_KINDS, "ReLU", "Flatten")), 0),
}
"""Arguments that may stand by position in front of those; where nothing is said, one."""


def _defaults(script: Script, name: str, wanted: str, value: str) -> Places:
    for call in script.calls(name):
        given = [arg for arg in call.args if arg.keyword is None]
        if len(given) > FIRST_OPTIONAL.get(name, 1) or any(arg.star for arg in call.args):
            continue
        if argument(call, None, wanted) is None:
            end = script.span(call)[1] - 1
            if call.args:
                end = max(script.span(call.args[-1])[1], script.outer_span(call.args[-1].value)[1])
            text = f", {wanted}={value}" if call.args else f"{wanted}={value}"
            yield call, [(_edit(script, call, end, end, text),)]


def _opened(script: Script) -> Places:
    """`open(path)` is `open(path, "r")`."""
    for call in script.calls():
        if dotted(call.func) == "open" and len(call.args) == 1 and call.args[0].keyword is None:
            end = script.span(call.args[0])[1]
            yield call, [(_edit(script, call, end, end, ', "r"'),)]


KINDS: dict[str, Callable[[Script], Places]] = {
    "cleared": _cleared,
    "comparisons": _comparisons,
    "contexts": _contexts,
    "dicts": _dicts,
    "extracted": extracted,
    "inlined": inlined,
    "lengths": _lengths,
    "methods": _methods,
    "modes": _modes,
    "new_axes": _new_axes,
    "numbers": _numbers,
    "opened": _opened,
    "powers": _powers,
    "products": _products,
    "ranges": _ranges,
    "sums": _sums,
    "supers": _supers,
    "views": _views,
}


def _kinds(script: Script) -> Iterator[tuple[str, Places]]:
    for kind, find in KINDS.items():
        yield kind, find(script)
    for name, arguments in DEFAULTS.items():
        for wanted, value in arguments:
            yield f"default {name}({wanted}={value})", _defaults(script, name, wanted, value)
