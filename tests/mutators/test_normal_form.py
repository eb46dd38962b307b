"""Normal forms: spelling goes, the program stays."""

from __future__ import annotations

import pytest

from mldebug.clean_scripts.library import load_job, sources
from mldebug.factory import styled_script
from mldebug.mutators.base import all_mutators
from mldebug.mutators.compose import hostable
from mldebug.mutators.normal_form import form_digest, normal_form
from mldebug.mutators.rewrites import REWRITES, Choice, rewrite_all
from mldebug.mutators.styles import KINDS, restyle
from mldebug.mutators.workspace import Workspace, splice
from mldebug.seeds import Draw

from ..jobs import each_job

HEAD = "import torch\nfrom torch import nn\n"
BASE = HEAD + (
    "def scale(x, by):\n    return x * by\n"
    "class Net(nn.Module):\n    def __init__(self, size):\n        super().__init__()\n"
    "        self.head = nn.Linear(size, 2)\n"
    "    def forward(self, x):\n        return torch.cat([self.head(x)], dim=1)\n"
    "net = Net(size=16)\nprint(scale(net(torch.ones(3, 16)), by=0.001))\n"
)

SAME = {
    "names": ("scale", "rescale"),
    "a class": ("Net", "Model"),
    "an attribute of its own": ("self.head", "self.top"),
    "a parameter and its keyword": ("by", "factor"),
    "a literal": ("0.001", "1e-3"),
    "a comment": ("return x * by", "return x * by  # really"),
    "a docstring": ("return x * by", "'''Scaled.'''\n    return x * by"),
    "layout": ("scale(net(torch.ones(3, 16)), by=0.001)", "scale(\n    net(torch.ones(3, 16)),\n by=0.001,)"),
    "a keyword that styles leave out": ("dim=1", "1"),
    "code that never runs": ("return x * by", "if False:\n        print(x)\n    return x * by\n    x.sum()"),
    "statements without effect": ("net = Net", "pass\nassert True\n0\nnet = Net"),
    "a function that nobody calls": ("net = Net", "def spare(q):\n    return q\nnet = Net"),
    "an import that nobody uses": ("import torch\n", "import torch\nimport itertools\n"),
}

OTHER = {
    "a value": ("0.001", "0.002"),
    "a kind of number": ("x * by", "x * by * 1.0"),
    "an attribute of others": (".ones", ".zeros"),
    "which name": ("return x * by", "return by * by"),
    "order": ("x * by", "by * x"),
    "a call": ("super().__init__()", "super().__init__(); self.eval()"),
    "dead code that makes a name local": ("return x * by", "if False:\n        torch = 1\n    return x * by"),
    "dead code that makes a generator": ("return x * by", "return x * by\n    yield"),
    "a key": ("net = Net(size=16)", "net = {'a': Net(size=16)}['a']"),
    "what is printed": ("print(", "print('done', "),
    "one name for two": ("Net(size=16)", "(lambda scale: Net(size=16))(0)"),
}


def form(text: str) -> str:
    return normal_form(Workspace.of({"train.py": text}, "train.py"))


@pytest.mark.parametrize("change", SAME)
def test_spelling_does_not_count(change: str) -> None:
    changed = BASE.replace(*SAME[change])
    assert changed != BASE and form(changed) == form(BASE)


@pytest.mark.parametrize("change", OTHER)
def test_the_program_counts(change: str) -> None:
    changed = BASE.replace(*OTHER[change], 1)
    assert changed != BASE and form(changed) != form(BASE)


def test_the_order_of_independent_definitions_does_not_count_and_that_of_others_does() -> None:
    definitions = [
        "def f(a):\n    return a\n",
        "def g(a, b):\n    return a + b\n",
        "def h():\n    return f\n",
    ]
    use = "print(f(1), g(1, 2), h())\n"
    assert form("".join(definitions) + use) == form("".join(reversed(definitions)) + use)
    first, second = "def f(a):\n    return a\n", "def g(a=f):\n    return a\n"
    third = "def f(a):\n    return -a\n"
    assert form(first + second + third + "f(g())\n") != form(third + second + first + "f(g())\n")


def test_a_program_that_sees_names_or_its_source_keeps_them() -> None:
    for seen in ("print(globals())\n", "import inspect\nprint(inspect.getsource(scale))\n"):
        assert form(BASE + seen) != form(BASE.replace("scale", "rescale") + seen.replace("scale", "rescale"))
    assert form(BASE + "print(getattr(net, 'head'))\n") != form(
        BASE.replace("self.head", "self.top") + "print(getattr(net, 'head'))\n"
    )
    assert form("def broken(:\n") != form("def broken( :\n")


@each_job("job", __name__)
def test_all_styles_of_a_job_are_one_program(job: str) -> None:
    clean = Workspace(sources(job), load_job(job).entrypoint)
    styled = [restyle(clean, Draw("normal", job, style)) for style in range(6)]
    forms = {normal_form(one, printed=False) for one in styled}
    assert forms == {normal_form(clean, printed=False)}
    for one in styled[:2]:
        files = dict(one)
        quiet = [kind for kind in REWRITES if kind.layout or kind.name in ("fresh names", "definition order")]
        steps = [(kind, Choice(Draw("normal", kind.name))) for kind in quiet]
        rewritten = Workspace.of(rewrite_all(files, clean.entrypoint, steps), clean.entrypoint)
        assert rewritten.files != files
        assert form_digest(rewritten) == form_digest(Workspace.of(files, clean.entrypoint))
    assert len(KINDS) == 8  # a new kind of style has to be undone by the normal form too


def test_no_mutant_is_its_reference_and_hardly_two_are_the_same() -> None:
    script = styled_script("tabular_classifier", 3)
    reference = form_digest(script.workspace)
    forms: dict[str, object] = {}
    same = 0
    for owner in all_mutators():
        for name, sites in hostable(script)[owner.bug_class]:
            edits = owner.manifestation(name).edits(script, sites[0], 0)
            found = form_digest(splice(script.workspace, edits))
            assert found != reference, (owner.bug_class, name)
            same += found in forms
            forms[found] = name
    assert len(forms) > 20 and same <= 2
