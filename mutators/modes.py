"""Layers and calls in which training and evaluation mode differ."""

from __future__ import annotations

from typing import Literal

import libcst as cst

from .analysis import Script, dotted, fact
from .editing import argument

Mode = Literal["eval", "train"]

NOISY_LAYERS = (
    "torch.nn.Dropout", "torch.nn.AlphaDropout", "torch.nn.FeatureAlphaDropout",
    "torch.nn.BatchNorm", "torch.nn.LazyBatchNorm", "torch.nn.SyncBatchNorm", "torch.nn.RReLU",
    "torch.nn.Transformer",
)  # fmt: skip
"""Layers (by the start of their dotted name) that differ between the modes. GroupNorm and LayerNorm do not;
InstanceNorm, recurrent layers and attention only with the argument below."""

NOISY_ARGUMENTS = {
    "torch.nn.InstanceNorm1d": "track_running_stats",
    "torch.nn.InstanceNorm2d": "track_running_stats",
    "torch.nn.InstanceNorm3d": "track_running_stats",
    "torch.nn.LSTM": "dropout",
    "torch.nn.GRU": "dropout",
    "torch.nn.RNN": "dropout",
    "torch.nn.MultiheadAttention": "dropout",
}

FUNCTIONAL_DROPOUT = {
    "torch.nn.functional.dropout": "True",
    "torch.nn.functional.dropout1d": "True",
    "torch.nn.functional.dropout2d": "True",
    "torch.nn.functional.dropout3d": "True",
    "torch.nn.functional.alpha_dropout": "False",
    "torch.nn.functional.feature_alpha_dropout": "False",
}
"""Functional dropouts and their default for `training`."""

MODE_ARGUMENTS = {
    **dict.fromkeys(FUNCTIONAL_DROPOUT, (2, "training")),
    "torch.dropout": (2, "train"),
    "torch.nn.functional.batch_norm": (5, "training"),
}
"""Functions that are told the mode, and where: (position, keyword)."""


# -- layers that differ between the modes ---------------------------------------------------------------


def never(value: cst.CSTNode) -> bool:
    """Whether an argument switches a layer off: a rate of 0, or False."""
    if isinstance(value, cst.Name):
        return value.value == "False"
    return isinstance(value, (cst.Integer, cst.Float)) and float(value.evaluated_value) == 0


@fact
def noisy_call(script: Script, call: cst.Call) -> bool:
    """Whether a call builds a layer, or is a functional dropout, that differs between the modes."""
    name = script.resolve(call.func) or ""
    if name in NOISY_ARGUMENTS:
        given = argument(call, None, NOISY_ARGUMENTS[name])
        return given is not None and not never(given.value)
    if name in MODE_ARGUMENTS:
        given = argument(call, *MODE_ARGUMENTS[name])
        rate = argument(call, 1, "p") if "dropout" in name else None
        told = given is not None and dotted(given.value) not in ("True", "False")
        return told and not (rate is not None and never(rate.value))
    if name.startswith("torch.nn.Transformer") or "Dropout" in name:
        position = 0 if "Dropout" in name else None
        rate = argument(call, position, "p" if "Dropout" in name else "dropout")
        return name.startswith(NOISY_LAYERS) and not (rate is not None and never(rate.value))
    return name.startswith(NOISY_LAYERS)


@fact
def _noisy_definitions(script: Script) -> frozenset[str]:
    """Names of functions and classes of the workspace in which a mode-dependent layer is used, directly or
    through each other."""
    defined: dict[str, list[cst.CSTNode]] = {}
    definitions: list[cst.FunctionDef | cst.ClassDef] = [*script.functions(), *script.classes()]
    for one in definitions:
        defined.setdefault(one.name.value, []).append(one)
    noisy = {
        name
        for name, nodes in defined.items()
        if any(noisy_call(script, call) for node in nodes for call in script.nodes(cst.Call, node))
    }
    while True:
        more = {
            name
            for name, nodes in defined.items()
            if name not in noisy
            and any(one.value in noisy for node in nodes for one in script.nodes(cst.Name, node))
        }
        if not more:
            return frozenset(noisy)
        noisy |= more


@fact
def noisy_model(script: Script, built: cst.CSTNode | None) -> bool:
    """Whether the expression that builds a model builds a mode-dependent layer. Where nobody knows what
    builds it (None, or code from elsewhere), whether the workspace has such a layer at all."""
    definitions = _noisy_definitions(script)
    if built is not None:
        if any(noisy_call(script, call) for call in script.nodes(cst.Call, built)):
            return True
        names = {one.value for one in script.nodes(cst.Name, built)}
        if names & definitions:
            return True
        if isinstance(built, cst.Call):
            known = script.definition(built.func) is not None
            if known or (script.resolve(built.func) or "").startswith("torch.nn."):
                return False
    return bool(definitions) or any(noisy_call(script, call) for call in script.nodes(cst.Call))


# -- switching calls -------------------------------------------------------------------------------------


def switch_mode(call: cst.Call) -> Mode | None:
    """The mode that `x.eval()`, `x.train()` or `x.train(flag)` sets; a flag that is no literal counts as
    evaluation, because evaluation is what it is there for."""
    if not isinstance(call.func, cst.Attribute):
        return None
    name = call.func.attr.value
    if name == "eval" and not call.args:
        return "eval"
    if name == "train" and len(call.args) <= 1:
        if not call.args:
            return "train"
        value = call.args[0].value
        return "train" if isinstance(value, cst.Name) and value.value == "True" else "eval"
    return None
