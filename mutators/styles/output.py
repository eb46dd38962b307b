"""Output: what a run prints. What it writes to files stays byte for byte."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import libcst as cst

from ...seeds import Draw
from .kind import Kind, StyleExample, Trees, each

SEPARATORS = (" | ", ", ", "  ", " - ", " / ", "; ")

WORDINGS: dict[str, tuple[str, ...]] = {
    "epoch": ("epoch", "ep", "Epoch", "pass"),
    "train": ("train", "fit", "trn"),
    "val": ("val", "valid", "dev"),
    "accuracy": ("accuracy", "acc", "hit rate"),
    "loss": ("loss", "cost", "objective"),
    "finished": ("finished", "done", "complete"),
    "classes": ("classes", "categories", "labels"),
    "device": ("device", "running on", "on"),
    "rows": ("rows", "samples", "records"),
}

CASED = frozenset({"epoch", "train", "val", "accuracy", "loss"})
"""Words that some capitalise in a progress line."""

_SEPARATOR = re.compile(r"(?:^|(?<=\S))(?: \| |, |  )(?=\w|$)")
_WORD = re.compile(r"(?<![\w\\{%])[a-z]+(?![\w}])")
_FLOAT_FORMAT = re.compile(r"(\d*)\.(\d)f")
_WIDTH_FORMAT = re.compile(r"(\d)d")


@dataclass(frozen=True)
class OutputStyle:
    """separator: between the parts of a line, None leaves it. words: word → wording. case: of known words.

    decimals: how many more or fewer places numbers get. width: of whole numbers, None leaves it.
    flush: whether lines are flushed.
    """

    separator: str | None = None
    words: tuple[tuple[str, str], ...] = ()
    case: Literal["keep", "capital", "upper"] = "keep"
    decimals: int = 0
    width: str | None = None
    flush: bool = False


class Output(Kind[OutputStyle]):
    """Only texts and formats directly inside `print(…)` are changed, never what is computed for them."""

    name = "output"
    examples = (
        StyleExample(
            'print(f"epoch {n:2d}  loss {x:.4f}")\n',
            'print(f"ep {n:03d} | cost {x:.3f}", flush=True)\n',
            OutputStyle(" | ", (("epoch", "ep"), ("loss", "cost")), "keep", -1, "03", True),
        ),
        StyleExample(
            'print("train loss", d["train loss"])\nprint("epoch", file=log)\nsave("epoch")\n',
            'print("Train Loss", d["train loss"])\nprint("epoch", file=log)\nsave("epoch")\n',
            OutputStyle(case="capital"),
        ),
    )

    def choose(self, trees: Trees, draw: Draw) -> OutputStyle:
        if draw.chance(1, 8, "keep"):
            return OutputStyle()
        return OutputStyle(
            draw.choose((None, *SEPARATORS), "separator"),
            tuple((word, draw.choose(to, "word", word)) for word, to in sorted(WORDINGS.items())),
            draw.choose(("keep", "keep", "capital", "upper"), "case"),
            draw.choose((-1, 0, 1, 2), "decimals"),
            draw.choose((None, "", "2", "3", "02", "03"), "width"),
            draw.chance(1, 6, "flush"),
        )

    def apply(self, trees: Trees, setting: OutputStyle) -> Trees:
        return each(trees, _Output, setting)


class _Output(cst.CSTTransformer):
    def __init__(self, setting: OutputStyle) -> None:
        self.setting = setting
        self.words = dict(setting.words)

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        function = updated_node.func
        if not (isinstance(function, cst.Name) and function.value == "print"):
            return updated_node
        keywords = {arg.keyword.value for arg in updated_node.args if arg.keyword}
        if "file" in keywords or any(arg.star for arg in updated_node.args):
            return updated_node
        args = [
            arg if arg.keyword else arg.with_changes(value=self._value(arg.value))
            for arg in updated_node.args
        ]
        if self.setting.flush and args and "flush" not in keywords:
            between = args[-1].comma
            space = cst.MaybeSentinel.DEFAULT if not isinstance(between, cst.Comma) else between
            flush = cst.Arg(
                cst.Name("True"),
                keyword=cst.Name("flush"),
                equal=cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace("")),
                comma=space,
                whitespace_after_arg=args[-1].whitespace_after_arg,
            )
            args[-1] = args[-1].with_changes(
                comma=cst.Comma(whitespace_after=cst.SimpleWhitespace(" ")),
                whitespace_after_arg=cst.SimpleWhitespace(""),
            )
            args.append(flush)
        return updated_node.with_changes(args=args)

    def _value(self, value: cst.BaseExpression) -> cst.BaseExpression:
        if isinstance(value, cst.SimpleString):
            plain = not value.prefix and "{" not in value.value and "%" not in value.value
            return value.with_changes(value=self._text(value.value)) if plain else value
        if isinstance(value, cst.ConcatenatedString):
            return value.with_changes(left=self._value(value.left), right=self._value(value.right))
        if isinstance(value, cst.FormattedString):
            return value.with_changes(parts=[self._part(part) for part in value.parts])
        return value

    def _part(self, part: cst.BaseFormattedStringContent) -> cst.BaseFormattedStringContent:
        if isinstance(part, cst.FormattedStringText):
            return part.with_changes(value=self._text(part.value))
        assert isinstance(part, cst.FormattedStringExpression)
        spec = part.format_spec
        if spec is None or len(spec) != 1 or not isinstance(spec[0], cst.FormattedStringText):
            return part
        return part.with_changes(format_spec=[spec[0].with_changes(value=self._format(spec[0].value))])

    def _format(self, spec: str) -> str:
        if found := _FLOAT_FORMAT.fullmatch(spec):
            places = max(1, int(found[2]) + self.setting.decimals)
            return f"{found[1]}.{places}f"
        if _WIDTH_FORMAT.fullmatch(spec) and self.setting.width is not None:
            return f"{self.setting.width}d"
        return spec

    def _text(self, text: str) -> str:
        if "\\" in text or "{{" in text or "}}" in text:
            return text
        if self.setting.separator is not None:
            text = _SEPARATOR.sub(self.setting.separator, text)
        return _WORD.sub(self._word, text)

    def _word(self, found: re.Match[str]) -> str:
        word = self.words.get(found[0], found[0])
        if found[0] not in CASED or self.setting.case == "keep":
            return word
        return word.upper() if self.setting.case == "upper" else word.title()
