"""How a shape is made wrong: sizes, steps and layers replaced or dropped, and the places to do it at."""

from __future__ import annotations

import libcst as cst

from .analysis import Script, dotted, fact
from .editing import add_argument, argument, delete_statement, drop_argument, replace, replace_outer
from .flow import flow
from .idioms import Layer, layers
from .listed import Alternatives, Candidates
from .sizes import is_used, swapped, wrong_sizes
from .workspace import Edit

CONVOLUTIONS = frozenset({"Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d"})

RECURRENT = frozenset({"GRU", "LSTM", "RNN"})

NORMS = frozenset({"BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "LayerNorm"})
"""GroupNorm is left out: a wrong size there already fails to be built, with another kind of error."""

SIZES: dict[str, tuple[tuple[int, str], ...]] = {
    "Linear": ((0, "in_features"), (1, "out_features")),
    "Bilinear": ((0, "in1_features"), (1, "in2_features"), (2, "out_features")),
    "Embedding": ((1, "embedding_dim"),),
    "EmbeddingBag": ((1, "embedding_dim"),),
    "MultiheadAttention": ((0, "embed_dim"),),
    "LayerNorm": ((0, "normalized_shape"),),
    **dict.fromkeys(NORMS - {"LayerNorm"}, ((0, "num_features"),)),
    **dict.fromkeys(CONVOLUTIONS, ((0, "in_channels"), (1, "out_channels"))),
    **dict.fromkeys(RECURRENT, ((0, "input_size"), (1, "hidden_size"))),
}
"""Kind of layer -> position and keyword of the sizes that tensors must agree with. How many rows an embedding
has is none of them: with more than there are codes it works as well."""


@fact
def must_fit(script: Script) -> frozenset[cst.CSTNode]:
    """Every expression that a size which tensors must agree with may come from."""
    sizes = [
        arg.value
        for layer in layers(script)
        for position, keyword in SIZES.get(layer.kind, ())
        if is_used(script, layer) and (arg := argument(layer.call, position, keyword)) is not None
    ]
    return frozenset(origin.node for size in sizes for origin in flow(script, size))


def is_method(script: Script, node: cst.CSTNode, name: str) -> bool:
    """Whether a node is a call `value.name(...)`."""
    return (
        isinstance(node, cst.Call)
        and isinstance(node.func, cst.Attribute)
        and node.func.attr.value == name
        and script.resolve(node.func) is None
    )


def replaced(script: Script, node: cst.CSTNode, texts: list[str]) -> list[list[Edit]]:
    return [[replace_outer(script, node, text)] for text in texts]


def wrong_input(script: Script, layer: Layer, first: str, second: str) -> Alternatives:
    """Other sizes for a layer's input, and its two sizes swapped where they differ."""
    size, out = argument(layer.call, 0, first), argument(layer.call, 1, second)
    if size is None:
        return []
    found = replaced(script, size.value, wrong_sizes(script, size.value))
    if out is not None:
        found += swapped(script, size.value, out.value)
    return found


def wrong_at_callers(script: Script, layer: Layer, keyword: str) -> Candidates:
    """Where a layer's size is a parameter of a function that builds blocks: the calls of that function."""
    size, function = argument(layer.call, 0, keyword), script.function(layer.call)
    if size is None or function is None or script.class_of(function) is not None:
        return
    names = [param.name.value for param in function.params.params]
    name = dotted(size.value)
    if name in names:
        for call in script.callers(function):
            arg = argument(call, names.index(name), name)
            if arg is not None:
                yield call, replaced(script, arg.value, wrong_sizes(script, arg.value))


def axis_read(node: cst.CSTNode) -> cst.Integer | None:
    """The `1` in `x.shape[1]` or `x.size(1)`."""
    if isinstance(node, cst.Subscript) and isinstance(node.value, cst.Attribute) and len(node.slice) == 1:
        index = node.slice[0].slice
        if node.value.attr.value == "shape" and isinstance(index, cst.Index):
            return index.value if isinstance(index.value, cst.Integer) else None
    if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and len(node.args) == 1:
        value = node.args[0].value
        if node.func.attr.value == "size" and isinstance(value, cst.Integer):
            return value
    return None


def reads_batch(script: Script, node: cst.CSTNode) -> bool:
    axis = axis_read(node)
    if axis is not None:
        return axis.value == "0"
    return isinstance(node, cst.Call) and dotted(node.func) == "len" and len(node.args) == 1


def without_step(script: Script, call: cst.Call) -> list[Edit]:
    """Drop `x = f(x)` as a whole, or put the argument where the call is."""
    small = script.small_statement(call)
    assert isinstance(call.func, cst.Attribute)
    inner = call.args[0].value if script.resolve(call.func) else call.func.value
    alone = isinstance(small, cst.Assign) and small.value is call and len(small.targets) == 1
    if alone and isinstance(small, cst.Assign) and dotted(small.targets[0].target) == dotted(inner):
        return [delete_statement(script, call)]
    return [replace(script, call, script.text(inner))]


def without_element(script: Script, call: cst.Call) -> list[list[Edit]]:
    """Take a layer out of the `nn.Sequential(...)` around it."""
    arg = script.parent(call)
    around = script.parent(arg) if isinstance(arg, cst.Arg) else None
    if not isinstance(around, cst.Call) or not isinstance(arg, cst.Arg) or len(around.args) < 2:
        return []
    inside = script.resolve(around.func) == "torch.nn.Sequential"
    return [[drop_argument(script, around, arg)]] if inside else []


def flatten_dims(script: Script, call: cst.Call, position: int) -> list[list[Edit]]:
    """Flatten from the batch axis on, or from one axis too late."""
    start = argument(call, position, "start_dim")
    if start is None:  # nn.Flatten() starts at 1; torch.flatten(x) flattens all, which nobody means here
        made = script.resolve(call.func) == "torch.nn.Flatten" and not call.args
        return [[add_argument(script, call, f"start_dim={dim}")] for dim in (0, 2)] if made else []
    if script.text(start.value) != "1" or len(call.args) > position + 1:
        return []
    return [[drop_argument(script, call, start)], [replace(script, start.value, "2")]]


def gets_state(script: Script, layer: Layer) -> bool:
    """Whether a recurrent layer is called with a first state."""
    if layer.attribute is None or layer.owner is None:
        return False
    calls = script.nodes(cst.Call, layer.owner)
    return any(dotted(call.func) == f"self.{layer.attribute}" and len(call.args) > 1 for call in calls)
