"""What an expression stands for in training code: a model, an optimizer, a loss, whatever it is called."""

from __future__ import annotations

from typing import Literal

import libcst as cst

from .analysis import Script, dotted, fact
from .bindings import origins

Role = Literal["model", "optimizer", "scheduler", "criterion", "loader", "device"]

LOSSES = {
    "CrossEntropyLoss": "cross_entropy",
    "NLLLoss": "nll_loss",
    "MSELoss": "mse_loss",
    "L1Loss": "l1_loss",
    "SmoothL1Loss": "smooth_l1_loss",
    "HuberLoss": "huber_loss",
    "BCELoss": "binary_cross_entropy",
    "BCEWithLogitsLoss": "binary_cross_entropy_with_logits",
    "GaussianNLLLoss": "gaussian_nll_loss",
    "PoissonNLLLoss": "poisson_nll_loss",
    "KLDivLoss": "kl_div",
}
"""Class in `torch.nn` → function in `torch.nn.functional`."""

TENSORS = frozenset({"Parameter", "Buffer", "UninitializedParameter", "UninitializedBuffer"})
"""Classes in `torch.nn` that are tensors."""

CONTAINERS = frozenset({"Sequential", "ModuleList", "ModuleDict"})

PARAMETERLESS = (
    *("Dropout", "AlphaDropout", "FeatureAlphaDropout", "Flatten", "Unflatten", "Identity", "Upsample"),
    *("ReLU", "LeakyReLU", "GELU", "SiLU", "ELU", "Tanh", "Sigmoid", "Softmax", "LogSoftmax", "Softplus"),
    *("MaxPool", "AvgPool", "AdaptiveAvgPool", "AdaptiveMaxPool", "ZeroPad", "PixelShuffle", "InstanceNorm"),
)
"""Layers without parameters, by the start of their name."""


@fact
def role(script: Script, expression: cst.CSTNode) -> Role | None:
    """What an expression stands for, or None. An unknown name is judged by the methods called on it."""
    for origin in origins(script, expression):
        if isinstance(origin, cst.Call):
            name = script.resolve(origin.func) or ""
            if name == "torch.optim.swa_utils.AveragedModel":
                return "model"
            if name.startswith("torch.optim.lr_scheduler.") or name == "torch.optim.swa_utils.SWALR":
                return "scheduler"
            if name.startswith("torch.optim."):
                return "optimizer"
            if name.removeprefix("torch.nn.") in LOSSES:
                return "criterion"
            if name == "torch.device":
                return "device"
            if name == "torch.utils.data.DataLoader":
                return "loader"
            layer = name.removeprefix("torch.nn.")
            if layer != name and layer[:1].isupper() and "." not in layer and layer not in TENSORS:
                return "model"
            made = script.definition(origin.func)
            if isinstance(made, cst.ClassDef) and is_module_class(script, made):
                return "model"
        if isinstance(origin, (cst.Name, cst.Attribute)):
            called = _methods_called(script, script.scope(origin)).get(dotted(origin) or "", frozenset())
            if called & {"parameters", "state_dict"} or {"train", "eval"} <= called:
                return "model"
            if {"zero_grad", "step"} <= called:
                return "optimizer"
    return None


@fact
def is_module_class(script: Script, node: cst.ClassDef) -> bool:
    """Whether a class derives from `torch.nn.Module` (or a layer), directly or through this workspace."""
    for base in node.bases:
        if (script.resolve(base.value) or "").startswith("torch.nn."):
            return True
        parent = script.definition(base.value)
        if isinstance(parent, cst.ClassDef) and parent is not node and is_module_class(script, parent):
            return True
    return False


@fact
def learns(script: Script, owner: cst.ClassDef) -> bool:
    """Whether instances of a module class hold parameters, as far as the text shows."""
    for call in script.nodes(cst.Call, owner):
        name = script.resolve(call.func) or ""
        kind = name.removeprefix("torch.nn.")
        made = script.definition(call.func)
        if isinstance(made, cst.ClassDef):
            found = made is not owner and is_module_class(script, made) and learns(script, made)
        elif isinstance(made, cst.FunctionDef):
            found = script.class_of(made) is None
        else:
            layer = kind != name and kind[:1].isupper() and "." not in kind and kind not in LOSSES
            empty = kind in CONTAINERS or kind.startswith((*PARAMETERLESS, "Buffer", "UninitializedBuffer"))
            found = layer and not empty
        if found:
            return True
    for base in owner.bases:
        parent, name = script.definition(base.value), script.resolve(base.value) or ""
        if isinstance(parent, cst.ClassDef) and parent is not owner and learns(script, parent):
            return True
        if name.startswith("torch.nn.") and name not in ("torch.nn.Module", "torch.nn.modules.Module"):
            return True
    return False


@fact
def _methods_called(script: Script, scope: cst.CSTNode) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for call in script.nodes(cst.Call, scope):
        if isinstance(call.func, cst.Attribute) and (receiver := dotted(call.func.value)):
            found.setdefault(receiver, set()).add(call.func.attr.value)
    return {receiver: frozenset(methods) for receiver, methods in found.items()}
