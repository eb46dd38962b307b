"""Ways to build edits: each takes nodes of an analysed script and returns byte-span edits.

Edits are as small as they can be, so that a bug's diff shows the bug and nothing else. Text that is
inserted is given without indentation; it gets that of its new place.
"""

from __future__ import annotations

import textwrap

import libcst as cst

from .analysis import Script
from .syntax import SourceFile
from .workspace import Edit


def render(script: Script, node: cst.CSTNode) -> str:
    """The text of a node built by hand, in the layout (indent, newline) of the script's entry point."""
    module = next((f.module for f in script.files if f.name == script.workspace.entrypoint), cst.Module([]))
    return module.code_for_node(node)


def replace(script: Script, node: cst.CSTNode, replacement: str | cst.CSTNode) -> Edit:
    """Put text, or a node built by hand, where a node is. Its own parentheses stay around it."""
    file = script.file(node)
    text = replacement if isinstance(replacement, str) else render(script, replacement)
    return Edit(file.name, *file.span(node), text)


def replace_outer(script: Script, node: cst.CSTNode, replacement: str | cst.CSTNode) -> Edit:
    """As `replace`, but the node's own parentheses go too."""
    text = replacement if isinstance(replacement, str) else render(script, replacement)
    return Edit(script.file(node).name, *script.outer_span(node), text)


def unwrap(script: Script, call: cst.CSTNode) -> Edit:
    """`f(a).g(x)` → `f(a)`: a method call gives way to its receiver."""
    if not isinstance(call, cst.Call) or not isinstance(call.func, cst.Attribute):
        raise ValueError("only a method call can be unwrapped")
    file = script.file(call)
    return Edit(file.name, script.outer_span(call.func.value)[1], file.span(call)[1], "")


def delete_statement(script: Script, node: cst.CSTNode) -> Edit:
    """Remove the small or compound statement a node belongs to, with its line(s).

    Comment lines directly above go with it where they belong to it, and a trailing comment. Of two statements
    on a line the other stays. A block (or one-line suite) left empty gets `pass`.
    """
    small = script.small_statement(node)
    statement = script.statement(node)
    file = script.file(node)
    if small is not None:
        line = script.parent(small)
        if isinstance(line, (cst.SimpleStatementLine, cst.SimpleStatementSuite)) and len(line.body) > 1:
            return _delete_among(file, line, small)
        if isinstance(line, cst.SimpleStatementSuite):
            return replace(script, small, "pass")
    block = script.block(statement)
    if len(script.statements(block)) == 1 and not isinstance(block, cst.Module):
        return replace(script, statement, "pass")
    start, end = file.line_start(_start(file, statement)), file.line_end(file.span(statement)[1])
    start = _with_comments(file, start)
    before, after = file.data[:start].splitlines()[-1:], file.data[end : file.line_end(end)]
    opens = statement is script.statements(block)[0] and not isinstance(block, cst.Module)
    if after and not after.strip() and (opens or (before and not before[0].strip())):
        end = file.line_end(end)  # a gap on both sides, or right below a header, would show what is missing
    return Edit(file.name, start, end, "")


def insert_before(script: Script, node: cst.CSTNode, text: str) -> Edit:
    """Put one or more lines before the statement a node belongs to (and before its own comment lines)."""
    statement = script.statement(node)
    file = script.file(node)
    start = _with_comments(file, file.line_start(_start(file, statement)))
    return Edit(file.name, start, start, _lines(file, statement, text))


def insert_after(script: Script, node: cst.CSTNode, text: str) -> Edit:
    """Put one or more lines after the statement a node belongs to (after the whole of a compound one)."""
    statement = script.statement(node)
    file = script.file(node)
    end = file.line_end(file.span(statement)[1])
    lines = _lines(file, statement, text)
    if not file.data[:end].endswith(b"\n"):
        newline = file.module.default_newline
        lines = newline + lines.removesuffix(newline)
    return Edit(file.name, end, end, lines)


def insert_first(script: Script, owner: cst.CSTNode, text: str) -> Edit:
    """Put lines at the start of a body (of a loop, function, …), after a docstring."""
    body = script.statements(owner)
    if not body:
        raise ValueError("a one-line suite has no place for further lines")
    if is_docstring(body[0]):
        return insert_after(script, body[0], text)
    return insert_before(script, body[0], text)


def insert_last(script: Script, owner: cst.CSTNode, text: str) -> Edit:
    """Put lines at the end of a body (of a loop, function, …)."""
    body = script.statements(owner)
    if not body:
        raise ValueError("a one-line suite has no place for further lines")
    return insert_after(script, body[-1], text)


def move(script: Script, node: cst.CSTNode, anchor: cst.CSTNode, after: bool = False) -> tuple[Edit, ...]:
    """Take a simple statement away and put it before (or after) the statement of `anchor`."""
    small = script.small_statement(node)
    if small is None:
        raise ValueError("only a simple statement can be moved")
    text = script.text(small)
    insert = (insert_after if after else insert_before)(script, anchor, text)
    delete = delete_statement(script, node)
    if insert.file == delete.file and insert.start == delete.start:
        return (Edit(delete.file, delete.start, delete.end, insert.replacement + delete.replacement),)
    return tuple(sorted((delete, insert)))


# -- arguments of a call -----------------------------------------------------------------------------------


def argument(call: cst.Call, position: int | None, keyword: str | None = None) -> cst.Arg | None:
    """The argument given by position (from 0) or by keyword; None if absent or hidden behind `*args`."""
    for index, arg in enumerate(call.args):
        if arg.star:
            break
        if arg.keyword is None and index == position:
            return arg
    for arg in call.args:
        if arg.keyword is not None and arg.keyword.value == keyword:
            return arg
    return None


def drop_argument(script: Script, call: cst.Call, arg: cst.Arg) -> Edit:
    """Remove one argument with its comma."""
    file = script.file(call)
    index = next(i for i, one in enumerate(call.args) if one is arg)
    start, end = _arg_span(script, arg)
    if index > 0:
        start = _arg_span(script, call.args[index - 1])[1]
    elif len(call.args) > 1:
        end = _arg_span(script, call.args[1])[0]
    elif isinstance(arg.comma, cst.Comma):
        end = file.data.index(b",", end) + 1
    return Edit(file.name, start, end, "")


def add_argument(script: Script, call: cst.Call, text: str) -> Edit:
    """Add an argument (`dim=1`, `*rest`) behind the last one."""
    file = script.file(call)
    if not call.args:
        end = file.span(call)[1] - 1
        return Edit(file.name, end, end, text)
    end = _arg_span(script, call.args[-1])[1]
    return Edit(file.name, end, end, f", {text}")


def set_argument(
    script: Script, call: cst.Call, keyword: str, value: str, position: int | None = None
) -> Edit:
    """Replace an argument's value, or add it by keyword where it is absent."""
    arg = argument(call, position, keyword)
    return (
        add_argument(script, call, f"{keyword}={value}")
        if arg is None
        else replace_outer(script, arg.value, value)
    )


# -- helpers ---------------------------------------------------------------------------------------------


def _arg_span(script: Script, arg: cst.Arg) -> tuple[int, int]:
    start, end = script.span(arg)
    return min(start, script.outer_span(arg.value)[0]), max(end, script.outer_span(arg.value)[1])


def _start(file: SourceFile, statement: cst.CSTNode) -> int:
    decorators = getattr(statement, "decorators", ())
    return min(file.span(one)[0] for one in (statement, *decorators))


def _with_comments(file: SourceFile, start: int) -> int:
    """Step back over comment lines directly above a line, of the same indentation."""
    indent = _indent(file, start)
    while start > 0:
        above = file.line_start(start - 1)
        line = file.data[above:start]
        if not line.startswith(indent + b"#") or line.startswith((b"#!", b"# -*-")):
            break
        start = above
    return start


def _indent(file: SourceFile, line_start: int) -> bytes:
    line = file.data[line_start : file.line_end(line_start)]
    return line[: len(line) - len(line.lstrip(b" \t"))]


def _lines(file: SourceFile, statement: cst.CSTNode, text: str) -> str:
    indent = _indent(file, file.line_start(_start(file, statement))).decode()
    newline = file.module.default_newline
    head, *rest = textwrap.dedent(text).strip("\n").splitlines()
    return "".join(f"{indent}{line}{newline}" if line else newline for line in (head, *rest))


def _delete_among(
    file: SourceFile, line: cst.SimpleStatementLine | cst.SimpleStatementSuite, small: cst.BaseSmallStatement
) -> Edit:
    index = next(i for i, one in enumerate(line.body) if one is small)
    start, end = file.span(small)
    if index + 1 < len(line.body):
        end = file.span(line.body[index + 1])[0]
    else:
        start = file.span(line.body[index - 1])[1]
    return Edit(file.name, start, end, "")


def is_docstring(statement: cst.CSTNode) -> bool:
    """Whether a statement is a text that stands alone."""
    return (
        isinstance(statement, cst.SimpleStatementLine)
        and isinstance(statement.body[0], cst.Expr)
        and isinstance(statement.body[0].value, (cst.SimpleString, cst.ConcatenatedString))
    )
