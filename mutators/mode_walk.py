"""In which mode a script's models run, found by walking the script in the order it is executed.

`eval()` is often redundant (the function called before has already switched), so a place where it is called
says little. The walk follows calls into the workspace's functions, takes every branch, runs every loop twice,
and notes for each forward call whether the model is in evaluation mode.
"""

from __future__ import annotations

import libcst as cst

from .analysis import Script, dotted
from .mode_states import Change, Forward, Instance, Model
from .modes import noisy_model, switch_mode
from .roles import is_module_class, role
from .syntax import children

DEPTH = 12
"""How deep calls are followed; real jobs have three or four levels."""

ROUNDS = 2
"""How often a loop body is walked: the second round sees what the end of the first one left behind."""

_SAME = frozenset({"to", "cuda", "cpu", "float", "double", "half", "requires_grad_", "share_memory", "apply"})

_WRAPPERS = frozenset(
    {
        "torch.compile",
        "torch.nn.DataParallel",
        "torch.nn.parallel.DistributedDataParallel",
        "torch.jit.script",
    }
)

_NO_FORWARD = frozenset(
    {
        *("state_dict", "load_state_dict", "parameters", "named_parameters", "modules", "named_modules"),
        *("children", "named_children", "buffers", "named_buffers", "zero_grad", "add_module"),
    }
)


class Walk:
    def __init__(self, script: Script, change: Change) -> None:
        self.script = script
        self.change = change
        self.forwards: list[Forward] = []
        self.visited: set[cst.CSTNode] = set()
        self._active: list[cst.CSTNode] = []
        self._switched: dict[cst.Call, Model] = {}

    # statements

    def block(self, node: cst.CSTNode, names: dict[str, object]) -> object:
        result: object = None
        for statement in self.script.statements(node):
            found = self.statement(statement, names)
            result = found if found is not None else result
        body = getattr(node, "body", None)
        if isinstance(body, cst.SimpleStatementSuite):
            found = self.statement(body, names)
            result = found if found is not None else result
        return result

    def statement(self, node: cst.CSTNode, names: dict[str, object]) -> object:
        result: object = None
        if isinstance(node, (cst.SimpleStatementLine, cst.SimpleStatementSuite)):
            for small in node.body:
                found = self.small(small, names)
                result = found if found is not None else result
        elif isinstance(node, (cst.FunctionDef, cst.ClassDef)):
            pass
        elif isinstance(node, (cst.For, cst.While)):
            self.expression(node.iter if isinstance(node, cst.For) else node.test, names)
            for _ in range(ROUNDS):
                found = self.block(node, names)
                result = found if found is not None else result
            if node.orelse is not None:
                self.block(node.orelse, names)
        else:
            for child in children(node):
                if isinstance(child, cst.BaseSuite):
                    continue
                if isinstance(child, (cst.If, cst.Else, cst.ExceptHandler, cst.Finally)):
                    continue
                self.expression(child, names)
            result = self.block(node, names)
            for name in ("handlers", "orelse", "finalbody"):
                part = getattr(node, name, None)
                for one in part if isinstance(part, (list, tuple)) else (part,):
                    if one is None:
                        continue
                    found = self.statement(one, names) if isinstance(one, cst.If) else self.block(one, names)
                    result = found if found is not None else result
        added = self.change.after.get(node)
        if added is not None:
            call, mode = added
            model = self._switched.get(call) or self.model_of(call, names)
            if model is not None:
                model.mode, model.switch = mode, None
        return result

    def small(self, node: cst.BaseSmallStatement, names: dict[str, object]) -> object:
        if isinstance(node, cst.Assign):
            value = self.expression(node.value, names)
            for target in node.targets:
                self.bind(target.target, value, node.value, names)
        elif isinstance(node, cst.AnnAssign) and node.value is not None:
            self.bind(node.target, self.expression(node.value, names), node.value, names)
        elif isinstance(node, cst.Return):
            return None if node.value is None else self.expression(node.value, names)
        else:
            for child in children(node):
                self.expression(child, names)
        return None

    def bind(self, target: cst.CSTNode, value: object, source: cst.CSTNode, names: dict[str, object]) -> None:
        if isinstance(target, (cst.Tuple, cst.List)):
            parts = value if isinstance(value, tuple) else (None,) * len(target.elements)
            for element, part in zip(target.elements, parts, strict=False):
                self.bind(element.value, part, element, names)
            return
        name = dotted(target)
        if name is None:
            return
        if (
            value is None
            and isinstance(target, (cst.Name, cst.Attribute))
            and role(self.script, target) == "model"
        ):
            value = Model(noisy_model(self.script, source if isinstance(source, cst.Call) else None))
        if value is None:
            names.pop(name, None)
        else:
            names[name] = value

    # expressions

    def expression(self, node: cst.CSTNode, names: dict[str, object]) -> object:
        if isinstance(node, cst.Call):
            return self.call(node, names)
        if isinstance(node, (cst.Name, cst.Attribute)):
            return self.lookup(node, names)
        if isinstance(node, cst.Tuple):
            return tuple(self.expression(one.value, names) for one in node.elements)
        if isinstance(node, (cst.ListComp, cst.SetComp, cst.GeneratorExp, cst.DictComp)):
            self.expression(node.for_in.iter, names)
            inside = (node.key, node.value) if isinstance(node, cst.DictComp) else (node.elt,)
            for _ in range(ROUNDS):
                for one in inside:
                    self.expression(one, names)
            return None
        if isinstance(node, cst.Lambda):
            self.expression(node.body, names)
            return None
        for child in children(node):
            self.expression(child, names)
        return None

    def lookup(self, node: cst.CSTNode, names: dict[str, object]) -> object:
        name = dotted(node)
        if name is None:  # `model(x).values`
            if isinstance(node, cst.Attribute):
                self.expression(node.value, names)
            return None
        if name in names:
            return names[name]
        if isinstance(node, cst.Attribute):
            base = self.lookup(node.value, names)
            if isinstance(base, Instance):
                return base.names.get(f"self.{node.attr.value}")
        return None

    def model_of(self, call: cst.Call, names: dict[str, object]) -> Model | None:
        if not isinstance(call.func, cst.Attribute):
            return None
        found = self.expression(call.func.value, names)
        if isinstance(found, Model):
            return found
        name = dotted(call.func.value)
        if (
            found is None
            and name is not None
            and name != "self"
            and role(self.script, call.func.value) == "model"
        ):
            made = Model(noisy_model(self.script, None))
            names[name] = made
            return made
        return None

    def call(self, node: cst.Call, names: dict[str, object]) -> object:
        script, func = self.script, node.func
        mode = switch_mode(node)
        if mode is not None:
            model = self.model_of(node, names)
            if model is not None:
                self._switched[node] = model
                if node not in self.change.skip:
                    model.mode, model.switch = self.change.becomes.get(node, mode), node
                return model
        arguments = [self.expression(arg.value, names) for arg in node.args]
        target = self.lookup(func, names)
        if isinstance(target, Model):
            self.forward(node, target)
            return None
        if isinstance(func, cst.Attribute):
            base = self.expression(func.value, names)
            method = func.attr.value
            if isinstance(base, Model):
                if method in _SAME:
                    return base
                own = script.method(base.owner, method) if base.owner is not None else None
                if own is not None and own.params.params and _drives_itself(script, own):
                    bound: dict[str, object] = {own.params.params[0].name.value: base}
                    return self.inline(own, node, arguments, bound, None, skip=1)
                if method not in _NO_FORWARD:
                    self.forward(node, base)
                return None
            if isinstance(base, Instance):
                made = script.method(base.owner, method)
                return (
                    self.inline(made, node, arguments, dict(base.names), base) if made is not None else None
                )
        resolved = script.resolve(func) or ""
        if resolved in _WRAPPERS:
            return arguments[0] if arguments else None
        if resolved in ("copy.deepcopy", "copy.copy") and arguments and isinstance(arguments[0], Model):
            return Model(arguments[0].noisy, arguments[0].mode, arguments[0].switch, arguments[0].owner)
        definition = script.definition(func) or self.nested(func)
        if isinstance(definition, cst.ClassDef):
            if is_module_class(script, definition):
                return Model(noisy_model(script, node), owner=definition)
            made_object = Instance(definition, {})
            init = script.method(definition, "__init__")
            if init is not None:
                self.inline(init, node, arguments, made_object.names, made_object)
            return made_object
        if isinstance(definition, cst.FunctionDef):
            shared = {} if script.function(definition) is None else dict(names)
            top = self._module_names(definition)
            return self.inline(definition, node, arguments, {**top, **shared}, None)
        if resolved.startswith("torch.nn.") and "." not in resolved.removeprefix("torch.nn."):
            return Model(noisy_model(script, node))
        return None

    def nested(self, func: cst.CSTNode) -> cst.FunctionDef | None:
        """A function defined inside the function that is being walked."""
        if isinstance(func, cst.Name) and self._active:
            for one in self.script.functions(self._active[-1]):
                if one.name.value == func.value and one is not self._active[-1]:
                    return one
        return None

    def _module_names(self, definition: cst.CSTNode) -> dict[str, object]:
        return self.top.setdefault(self.script.file(definition).name, {})

    @property
    def top(self) -> dict[str, dict[str, object]]:
        return self.__dict__.setdefault("_top", {})  # type: ignore[no-any-return]

    def forward(self, node: cst.Call, model: Model) -> None:
        self.forwards.append(Forward(node, model.mode, model.noisy, model.switch))

    def inline(
        self,
        function: cst.FunctionDef,
        call: cst.Call | None,
        arguments: list[object],
        names: dict[str, object],
        instance: Instance | None,
        skip: int = 0,
    ) -> object:
        if function in self._active or len(self._active) >= DEPTH:
            return None
        self.visited.add(function)
        params = [one.name.value for one in (*function.params.posonly_params, *function.params.params)]
        if instance is not None and params:
            names[params[0]] = instance
            params = params[1:]
        params = params[skip:]
        known = {*params, *(one.name.value for one in function.params.kwonly_params)}
        for name in known:
            names.pop(name, None)
        if call is not None:
            for index, (arg, value) in enumerate(zip(call.args, arguments, strict=True)):
                name = (
                    arg.keyword.value if arg.keyword is not None else (params[index : index + 1] or [""])[0]
                )
                if value is not None and name in known:
                    names[name] = value
        self._active.append(function)
        result = self.block(function, names)
        self._active.pop()
        if instance is not None:
            instance.names.update({k: v for k, v in names.items() if k.startswith("self.")})
        return result


def _drives_itself(script: Script, method: cst.FunctionDef) -> bool:
    """Whether a model's own method switches modes or calls the model (`fit`, `predict`)."""
    return any(switch_mode(call) or dotted(call.func) == "self" for call in script.nodes(cst.Call, method))
