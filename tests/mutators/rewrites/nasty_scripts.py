"""Scripts that print what a careless rewrite would change. None needs torch; each runs in a millisecond."""

from __future__ import annotations

FUTURE = '''\
#!/usr/bin/env python
# -*- coding: utf-8 -*-
"""The docstring stays in front of the future import."""
from __future__ import annotations
from dataclasses import dataclass, field, fields, asdict
import json, math as m

__all__ = ["Config", "total"]


@dataclass
class Config:
    """Order of fields matters."""

    size: int = 3
    rate: float = 1e-3
    names: list[str] = field(default_factory=list)
    total: "int | None" = None


def total(size, rate=0.001, *, total=1000):
    size += 1
    return size * rate + total


config = Config(size=4, rate=0.5)
print([one.name for one in fields(config)], asdict(config), config)
print(total(config.size, rate=2.0, total=4000), total(**{"size": 1, "total": 7}), m.pi)
print(json.dumps(asdict(Config(total=5))))
'''

SCOPES = """\
count = 0
def bump(step):
    global count
    count += step
    return count
def outer():
    total = 1
    def inner(amount=2):
        nonlocal total
        total += amount
        return total
    values = [inner(amount=count) for count in range(3)]
    return values, total, [total := total + 1 for _ in range(2)], total
print(bump(step=2), count, outer(), bump(3))
result = [(x, y) for x in range(3) if (y := x * 2) > 1]
print(result, y, {k: v for k, v in zip("ab", range(2))})
print((lambda count, /, *a, k=1: (count, a, k))(5, 6, k=7))
del result
try:
    print(result)
except NameError as error:
    print("gone", type(error).__name__)
for i in range(2):
    pass
else:
    i = i + 10
print(i)
class Holder:
    count = 7
    twice = count * 2
    values = [one for one in range(count)]
    def count_up(self, count=count):
        return self.count + count
print(Holder().count_up(), Holder.twice, Holder.values, count)
"""

REFLECTION = """\
def configure():
    batch = 3
    rate = 0.1
    return dict(locals())
epochs = 3
_hidden = 1
keys = sorted(k for k, v in globals().items() if isinstance(v, int) and not k.startswith("_"))
print(configure(), keys)
exec("epochs = epochs + 1")
print(epochs, eval("epochs * 2"), vars().get("epochs"))
def named(rate, epochs): return (rate, epochs)
print(sorted(vars(type("T", (), {"a": 1})).keys())[:1])
"""

ATTRIBUTES = """\
class Base:
    size = 1
    def __init__(self, size, scale):
        self.size = size
        self.scale = scale
    def run(self, size=0, scale=0):
        return getattr(self, "size") + size + scale
    def __repr__(self):
        return f"{type(self).__name__}({self.size!r}, {self.scale=})"
class Child(Base):
    def __init__(self, **options):
        super().__init__(**options)
    @property
    def twice(self):
        return self.size * 2
    @staticmethod
    def add(size, scale):
        return size + scale
    @classmethod
    def make(cls, size):
        return cls(size=size, scale=size)
child = Child(size=2, scale=3)
print(child, child.run(size=4, scale=5), child.twice, Child.add(scale=1, size=2), Child.make(size=9))
name = "scale"
print(getattr(child, name), hasattr(child, name + "d"), {**dict(size=1, scale=2)})
setattr(child, "size", 40)
print(child.size, "%(size)d" % {"size": child.size}, "{size}".format(size=child.size))
"""

CALLS = """\
from functools import partial, wraps
import functools
def traced(function):
    @wraps(function)
    def inner(*args, **options):
        print(sorted(options), list(options), len(args))
        return function(*args, **options)
    return inner
@traced
def train(model, rate=1, steps=2, **rest):
    return model, rate, steps, rest
def plain(model, rate=1, steps=2):
    return model, rate, steps
def order(**options):
    return list(options)
rate = 5
print(train("m", steps=3, rate=rate, extra=1), order(b=1, a=2), dict(steps=1, rate=2))
print(partial(plain, steps=4)("x"), functools.partial(plain, "y", rate=rate)(), plain("z", steps=1, rate=2))
print(plain(*["a"], **{"rate": 3}), [f(1) for f in (lambda model: model, lambda steps: -steps)])
def job(kind, options): return kind, options
print(job("k", options=dict(rate=1, steps=2)))
class Runner:
    def run(self, rate, steps): return rate - steps
    def __call__(self, steps): return steps
print(partial(Runner().run, steps=1)(rate=4), Runner()(steps=2), list(map(Runner(), [1])))
def steps(n):
    while True:
        n += 1
        if n > 3: return n
        else: n += 1; continue
print(steps(0))
"""

TEXTS = """\
import sys
x, items = 1000, {'a': 0.001}
print(f"{x=} {x = !r:>6} {items['a']:.1e} {x:{4}d} {'y' 'z'} {x+1000=}")
print(f'{x!r}' "it's" 'say "x"', r'\\d', b'x')
text = '''two
  lines # no comment
'''; print(text, len(text)); y = 1 if x else 2; print(y)
z = (1
     - 2 if x else
     3)
print(z, 0x3e8, 1_000, 1e3, 1., .5, 1j, 5e-324, 1e-5, 0.00001234)
print(10**3, -1 ** 2, 1 .real)
if x: print("one line"); print("still")
elif y: pass
else: print("no")
print(# a comment
    "a",  # type: ignore
    end="\\n")
print("a" if x else ("b"), not x, (x) , x is not None, ~5, [*range(3), *()], {**{}, 'k': 1})
def doc():
    'only a docstring'
def doc2(): "another"; return 5
class Empty: 'just text'
print(doc(), doc2(), Empty.__name__ if False else 0)
def f(): return (yield)
def g():
    "doc"
    try:
        return 1 if x else 2
    finally:
        print("finally")
print(next(f()), g())
while 1:
    break
else: print("never")
assert x, f"{x=}"
match x:
    case 1000 if y == 1: print("matched")
    case _: print("not")
match {"k": [1, 2, 3], "r": 4}:
    case {"k": [first, *others], **rest}: print(first, others, rest)
match (1, y):
    case (int(a), b): print(a, b)
print(sys.maxsize > 2**31)"""

UNICODE = """\
größe = 2
ｘ = 3
µ = 1
def f(ñ=1): return ñ + x + μ
print(größe, x, f(ñ=4), "🙂 naïve ü\\u00e9")
"""

TABS = (
    "def f(x):\n\tif x:\n\t\treturn 1 if x > 1 else 2\n\telse:\n\t    return 3\n"
    "for i in range(3):\n\tprint(f(i))\n"
)

CRLF = (
    "import json\r\ndef f(x, y=2):\r\n    '''doc\r\n    more'''\r\n    t = '''a\r\nb'''\r\n"
    "    return len(t) + x * y\r\n"
    "\r\nprint(f(1, y=3))\r\nif __name__ == '__main__':\r\n    print(json.dumps([f(2)]))"
)

TYPES = """\
from typing import NamedTuple, TypedDict, Generic, TypeVar, get_type_hints
from enum import Enum, auto
from abc import ABC, abstractmethod
T = TypeVar("T", bound="Shape")
class Colour(Enum):
    RED = auto()
    BLUE = auto()
    GREEN = 7
class Point(NamedTuple):
    x: float
    y: float = 0.5
class Shape(ABC):
    __slots__ = ("points",)
    registry: list = []
    def __init_subclass__(cls, tag=3): Shape.registry.append((cls.__name__, tag))
    @abstractmethod
    def area(self) -> "float": ...
class Zed(Shape, tag=9):
    def area(self): return 1
class Square(Shape):
    def area(self): return 4
x: int = 1
y: "Point | None" = None
print(list(Colour), Point(1, y=2), Point(x=3), Shape.registry, Zed().area(), x, y)
def later(value: "Zed" = None, *rest: int, flag: bool = False) -> "Square | None":
    local: int = 5
    local += 1
    return value, rest, flag, local
print(later(1, 2, flag=True), sorted(get_type_hints(Point)))
"""

LOOKS_AT_ITSELF = """\
import hashlib
from pathlib import Path
def f(x):
    return x + 1
print(hashlib.sha256(Path(__file__).read_bytes()).hexdigest(), f.__code__.co_firstlineno)
"""

LOOKS_AT_LINES = """\
import sys
def where():
    return sys._getframe(1).f_lineno
print(where())
try:
    1 / 0
except ZeroDivisionError as error:
    print(error.__traceback__.tb_lineno)
"""

READS_DOC = '''\
"""Usage: train [--size N]"""
import argparse
def f():
    "The f."
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--batch-size", type=int, default=4)
parser.add_argument("--rate", type=float, default=1e-3)
args = parser.parse_args([])
def run(batch_size, rate): return batch_size, rate
print(__doc__, f.__doc__, parser.description)
print(run(**vars(args)), run(batch_size=args.batch_size, rate=args.rate))
'''

SHADOWED = """\
class nn:
    class Dropout:
        def __init__(self, *a, **k): self.a, self.k = a, k
    @staticmethod
    def Conv2d(*a, **k): return a, list(k)
class torch:
    @staticmethod
    def cat(parts, axis): return parts, axis
def print_all(print=print, *, len=len): print(len([1]), max(1, 2))
print(nn.Dropout(0.1).a, nn.Conv2d(1, kernel_size=2, padding=3), torch.cat([1], 1))
def max(a, b): return (a, b)
print_all()
list = [1, 2]
def input(list): return list
print(input(list), list)
"""

PLAIN_MODULE = """\
from model import LIMIT, Net, helper as negate, scale
def report(net, by=LIMIT):
    total = 0
    for value in range(by):
        total = total + net.forward(value)
    return total, scale(by, by=total), negate(scale=by)
print(report(Net(width=2)), report(net=Net(3), by=2))
"""

MODULE = '''\
"""Helpers."""
import math
LIMIT = 3
_private = [1]
def scale(x, by=LIMIT):
    return x * by
class Net:
    scale = 5
    def __init__(self, width): self.width = width
    def forward(self, x): return scale(x, by=self.width) + self.scale
def helper(scale): return -scale
'''

USES_MODULE = """\
import model
import model as other
from model import Net, scale as rescale
import sys
module = other
print(model.scale(2, by=3), rescale(4), Net(width=2).forward(1), model.LIMIT)
print(module.helper(scale=1), other._private)
name = "LIMIT"
print(getattr(model, name), getattr(module, "helper")(1), model.math.pi)
model.LIMIT = 10
def read(): return model.LIMIT
print(read(), sys.modules["model"].LIMIT)
"""

STAR = """\
from model import *
print(scale(1), LIMIT, Net(1).forward(2), helper(scale=3), math.pi)
"""

SIDE_EFFECTS = """\
log = []
class Loud:
    def __init__(self, name): self.name = name
    def __bool__(self):
        log.append(self.name); return self.name == "yes"
    def __iadd__(self, other):
        log.append("iadd"); return self
    def __add__(self, other):
        log.append("add"); return self
    def __eq__(self, other):
        log.append("eq"); return NotImplemented
    __hash__ = None
def noisy(value):
    log.append(value); return value
def branch(x):
    if x: noisy("a")
    elif Loud("no"): noisy("b")
    else:
        noisy("c")
    return noisy(1) if x else noisy(2)
def build(a=noisy("default a"), b=noisy("default b")): return a, b
def build2(a=noisy("default 2")): return a
def score(marks):
    points, lost = 0, 0
    left = 10
    for mark in marks:
        left -= 1
        if mark: left *= 1.5
    points += 1
    return left, points, lost
branch(Loud("yes")); branch(Loud("no")); print(score([1, 0]))
counter = Loud("n")
counter += 1
alias = counter
def many():
    total = 0
    items = [1]
    same = items
    items += [2]
    total += 1
    total *= 3
    extra = total
    extra += 0.5
    for total in (5,):
        total += 1
    return total, same, extra
print(many(), build2(), build(b=noisy("kw"), a=noisy("kw2")), log)
value = noisy("t") if Loud("yes") else noisy("e")
print(value, log[-3:])
"""

CRASHES = """\
def f(x):
    values = [1, 2]
    return values[x]
print(f(1))
print(f(5))
"""

OF_MODULE = ("MODULE", "PLAIN_MODULE", "USES_MODULE", "STAR")
"""Scripts that are one file of two."""

SINGLE: dict[str, str] = {
    name.lower(): text
    for name, text in list(globals().items())
    if name.isupper() and isinstance(text, str) and name not in OF_MODULE
}

WORKSPACES: dict[str, dict[str, str]] = {
    **{name: {"train.py": text, "notes.txt": "x = 1\n"} for name, text in SINGLE.items()},
    "plain_module": {"train.py": PLAIN_MODULE, "model.py": MODULE},
    "uses_module": {"train.py": USES_MODULE, "model.py": MODULE},
    "star": {"train.py": STAR, "model.py": MODULE},
}
