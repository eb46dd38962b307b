"""Where a dropout layer is called, and how its file would spell the functional form."""

from __future__ import annotations

import libcst as cst

from .analysis import Script, dotted
from .idioms import Layer
from .roles import is_module_class


def layer_uses(script: Script, call: cst.Call) -> tuple[cst.Call, ...]:
    """The calls of a dropout layer in its class; empty where it is used in any other way."""
    owner, small = script.class_of(call), script.small_statement(call)
    if owner is None or not is_module_class(script, owner) or not isinstance(small, cst.Assign):
        return ()
    name = dotted(small.targets[0].target)
    if small.value is not call or name is None or not name.startswith("self.") or len(small.targets) > 1:
        return ()
    target = small.targets[0].target
    uses = [one for one in script.attributes(within=owner) if dotted(one) == name and one is not target]
    calls = []
    for use in uses:
        parent = script.parent(use)
        if not isinstance(parent, cst.Call) or parent.func is not use or len(parent.args) != 1:
            return ()
        if parent.args[0].keyword is not None or parent.args[0].star:
            return ()
        calls.append(parent)
    return tuple(calls)


def kept_as_layer(script: Script, layer: Layer) -> bool:
    """Whether `self.name` of a layer holds a module, the layer itself or one around it, and not a list."""
    small = script.small_statement(layer.call)
    value = small.value if isinstance(small, cst.Assign) else None
    if not isinstance(value, cst.Call):
        return False
    return (script.resolve(value.func) or "").startswith("torch.nn.")


def functional_name(script: Script, call: cst.Call) -> str | None:
    """How this file spells `torch.nn.functional`."""
    names = {full: local for local, full in sorted(script.file(call).imports.items())}
    for full, rest in (
        ("torch.nn.functional", ""),
        ("torch.nn", ".functional"),
        ("torch", ".nn.functional"),
    ):
        if full in names:
            return f"{names[full]}{rest}"
    return None
