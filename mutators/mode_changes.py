"""In which mode the models of a script are evaluated, and whether a change of the script breaks that.

A change of the script is an injection only if it turns the last forward in evaluation mode into one in
training mode.
"""

from __future__ import annotations

import libcst as cst

from .analysis import Script, dotted, fact
from .mode_states import NONE, Change, Forward, Instance, Model
from .mode_walk import Walk
from .modes import noisy_model, switch_mode
from .roles import is_module_class


def _worlds(script: Script, change: Change) -> tuple[tuple[Forward, ...], ...]:
    """What is executed from the entry point; then, each for itself, functions that nothing there calls."""
    walk = Walk(script, change)
    found = []
    for file in script.files:
        if file.name == script.workspace.entrypoint:
            walk.block(file.module, walk.top.setdefault(file.name, {}))
            found.append(tuple(walk.forwards))
    for function in script.functions():
        if (
            function in walk.visited
            or _in_module_class(script, function)
            or script.function(function) is not None
        ):
            continue
        if not any(switch_mode(call) for call in script.nodes(cst.Call, function)):
            continue
        walk.forwards = []
        owner = script.class_of(function)
        names: dict[str, object] = {}
        instance = Instance(owner, names) if owner is not None else None
        for call in script.nodes(cst.Call, function):
            if (
                switch_mode(call)
                and isinstance(call.func, cst.Attribute)
                and (name := dotted(call.func.value))
            ):
                names[name] = Model(noisy_model(script, None))
        params = {one.name.value for one in function.params.params}
        kept = {name: value for name, value in names.items() if name in params}
        walk.visited.add(function)
        walk._active = [function]
        if instance is not None and function.params.params:
            names[function.params.params[0].name.value] = instance
        names.update(kept)
        walk.block(function, names)
        walk._active = []
        found.append(tuple(walk.forwards))
    return tuple(found)


def _in_module_class(script: Script, function: cst.CSTNode) -> bool:
    owner = script.class_of(function)
    return owner is not None and is_module_class(script, owner)


@fact
def clean_worlds(script: Script) -> tuple[tuple[Forward, ...], ...]:
    return _worlds(script, NONE)


def last_evaluation(script: Script) -> tuple[Forward | None, ...]:
    """Per world, the last forward of a mode-dependent model in evaluation mode: what a job reports at its
    end depends on it."""
    return tuple(
        next((one for one in reversed(world) if one.noisy and one.mode == "eval"), None)
        for world in clean_worlds(script)
    )


def breaks(script: Script, change: Change) -> bool:
    """Whether, after a change, a last evaluation forward runs in training mode."""
    for before, after in zip(clean_worlds(script), _worlds(script, change), strict=True):
        if len(before) != len(after):
            continue
        for one, other in zip(reversed(before), reversed(after), strict=True):
            if one.noisy and one.mode == "eval":
                if other.mode == "train":
                    return True
                break
    return False
