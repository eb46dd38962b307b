"""Literals: which quotes texts stand in, and how numbers are spelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import libcst as cst

from ...seeds import Draw
from .kind import Kind, StyleExample, Trees, each

SMALL = 0.01
"""Numbers below this are those that people write with an exponent as often as without."""

LARGE = 1000
"""From here on, the digits of round numbers (multiples of 100) are grouped by some."""

ROUND = 100


@dataclass(frozen=True)
class LiteralStyle:
    """quote: of texts that hold no quote themselves, None leaves them. small: how numbers below 0.01 look.

    grouped: whether whole numbers from 1000 on get underscores, None leaves them.
    """

    quote: Literal["'", '"'] | None = None
    small: Literal["exponent", "plain"] | None = None
    grouped: bool | None = None


class Literals(Kind[LiteralStyle]):
    """Every literal keeps its value exactly."""

    name = "literals"
    examples = (
        StyleExample(
            'a = "row", f"{n} rows", "it\'s", f"{d[\'x\']}"\n',
            "a = 'row', f'{n} rows', \"it's\", f\"{d['x']}\"\n",
            LiteralStyle(quote="'"),
        ),
        StyleExample(
            "a = 1e-3, 5e-4, 0.5, 64\n", "a = 0.001, 0.0005, 0.5, 64\n", LiteralStyle(small="plain")
        ),
        StyleExample("a = 0.001, 0.004, 0.1\n", "a = 1e-3, 4e-3, 0.1\n", LiteralStyle(small="exponent")),
        StyleExample("a = 4000, 512\n", "a = 4_000, 512\n", LiteralStyle(grouped=True)),
    )

    def choose(self, trees: Trees, draw: Draw) -> LiteralStyle:
        return LiteralStyle(
            draw.choose((None, "'", '"'), "quote"),
            draw.choose((None, "exponent", "plain"), "small"),
            draw.choose((None, True, False), "grouped"),
        )

    def apply(self, trees: Trees, setting: LiteralStyle) -> Trees:
        return each(trees, _Literals, setting)


class _Literals(cst.CSTTransformer):
    def __init__(self, setting: LiteralStyle) -> None:
        self.setting = setting
        self.inside_text = 0

    def leave_SimpleString(
        self, original_node: cst.SimpleString, updated_node: cst.SimpleString
    ) -> cst.SimpleString:
        quote = self.setting.quote
        inner = updated_node.raw_value
        # up to Python 3.11 a text inside an f-string must not use the quotes around it
        fits = len(updated_node.quote) == 1 and not self.inside_text and not set(inner) & {"'", '"', "\\"}
        if quote is None or not fits:
            return updated_node
        return updated_node.with_changes(value=f"{updated_node.prefix}{quote}{inner}{quote}")

    def visit_FormattedString(self, node: cst.FormattedString) -> None:
        self.inside_text += 1

    def leave_FormattedString(
        self, original_node: cst.FormattedString, updated_node: cst.FormattedString
    ) -> cst.FormattedString:
        self.inside_text -= 1
        quote = self.setting.quote
        inner = cst.Module([]).code_for_node(updated_node)[len(updated_node.start) : -1]
        if quote is None or len(updated_node.end) != 1 or self.inside_text or set(inner) & {"'", '"', "\\"}:
            return updated_node
        return updated_node.with_changes(start=updated_node.start[:-1] + quote, end=quote)

    def leave_Float(self, original_node: cst.Float, updated_node: cst.Float) -> cst.Float:
        value = float(updated_node.value)
        if self.setting.small is None or not 0 < value < SMALL:
            return updated_node
        mantissa, exponent = _decimal(repr(value))
        if self.setting.small == "exponent":
            digits = f"{mantissa[0]}{'.' + mantissa[1:] if mantissa[1:] else ''}e-{-exponent}"
        else:
            digits = "0." + "0" * (-exponent - 1) + mantissa
        return updated_node.with_changes(value=digits) if float(digits) == value else updated_node

    def leave_Integer(self, original_node: cst.Integer, updated_node: cst.Integer) -> cst.Integer:
        text = updated_node.value.replace("_", "")
        if self.setting.grouped is None or not text.isdecimal() or int(text) < LARGE or int(text) % ROUND:
            return updated_node
        return updated_node.with_changes(value=f"{int(text):_}" if self.setting.grouped else text)


def _decimal(text: str) -> tuple[str, int]:
    """Digits without leading or trailing zeros, and the power of ten of the first one, of a float's repr."""
    head, _, power = text.partition("e")
    whole, _, fraction = head.partition(".")
    digits = (whole + fraction).lstrip("0")
    leading = len(whole + fraction) - len(digits)
    exponent = len(whole) - 1 - leading + int(power or 0)
    return digits.rstrip("0"), exponent
