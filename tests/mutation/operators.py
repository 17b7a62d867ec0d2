"""The small ways to break a program. Each site of a syntax tree is changed in one way at a time, and changed back.

What is not broken: docstrings, annotations, imports, messages for people (any text with a space in it), and asserts that only
tell a type checker what a value is.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import NamedTuple

Change = Callable[[], None]

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
}
DELETABLE = (ast.Expr, ast.Raise, ast.Continue, ast.AugAssign)
NOT_BROKEN = {"annotation", "returns", "decorator_list", "msg", "exc", "type_params", "targets"}
"""Parts of a statement: annotations and messages, and what is assigned to."""
OTHER_TEXT = "mutated"


class Site(NamedTuple):
    """One change: where, what it is called, and how to make it on the tree it was found in."""

    line: int
    column: int
    words: tuple[str | ast.AST, ...]
    make: Change

    @property
    def what(self) -> str:
        """The change in words; asked for before it is made."""
        return "".join(word if isinstance(word, str) else _short(word) for word in self.words)


def sites(tree: ast.Module, wanted: Callable[[str], bool]) -> Iterator[Site]:
    """Every change to the functions and values of a module whose top-level (or method) names are wanted, in a fixed order."""
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef):
            for inner in statement.body:
                if isinstance(inner, ast.FunctionDef) and wanted(inner.name):
                    yield from _of_statements([inner])
        elif isinstance(statement, ast.FunctionDef | ast.Assign | ast.AnnAssign) and wanted(_name(statement)):
            yield from _of_statements([statement])


def _name(statement: ast.FunctionDef | ast.Assign | ast.AnnAssign) -> str:
    if isinstance(statement, ast.FunctionDef):
        return statement.name
    target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
    return target.id if isinstance(target, ast.Name) else ""


def _of_statements(body: list[ast.stmt]) -> Iterator[Site]:
    for position, statement in enumerate(body):
        if _is_text(statement) or _only_narrows(statement):
            continue
        yield from _deletions(body, position)
        yield from _of_statement(statement)


def _of_statement(statement: ast.stmt) -> Iterator[Site]:
    for name, value in ast.iter_fields(statement):
        if name in NOT_BROKEN:
            continue
        if isinstance(value, ast.expr):
            yield from _of_expression(statement, name, value)
        elif isinstance(value, ast.arguments):
            yield from _of_items(value.defaults)
            yield from _of_items(value.kw_defaults)
        elif isinstance(value, list) and value and isinstance(value[0], ast.stmt):
            yield from _of_statements(value)
        elif isinstance(value, list):
            yield from _of_items(value)


def _of_items(items: list[ast.AST | None] | list[ast.expr] | list[ast.expr | None]) -> Iterator[Site]:
    for index, item in enumerate(items):
        if isinstance(item, ast.match_case):
            yield from _of_case(item)
        elif isinstance(item, ast.expr):
            yield from _of_expression_in(items, index, item)
        elif isinstance(item, ast.keyword) and item.arg != "why":
            yield from _of_expression(item, "value", item.value)
        elif isinstance(item, ast.comprehension):
            yield from _of_comprehension(item)


def _deletions(body: list[ast.stmt], position: int) -> Iterator[Site]:
    statement = body[position]
    is_early = isinstance(statement, ast.Return) and position == len(body) - 1 and _is_nested(statement)
    if isinstance(statement, DELETABLE) or is_early or isinstance(statement, ast.Assert):

        def delete() -> None:
            body[position] = ast.copy_location(ast.Pass(), statement)

        yield Site(statement.lineno, statement.col_offset, ("delete: ", statement), delete)
    if isinstance(statement, ast.Return) and statement.value is not None and not _is_none(statement.value):
        found = statement

        def nothing() -> None:
            found.value = ast.copy_location(ast.Constant(None), found)

        yield Site(statement.lineno, statement.col_offset, ("return None instead of ", statement.value), nothing)


def _is_nested(statement: ast.stmt) -> bool:
    return statement.col_offset > 4


def _of_case(case: ast.match_case) -> Iterator[Site]:
    if not (isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None):

        def never() -> None:
            case.guard = ast.copy_location(ast.Constant(False), case.pattern)

        line, column = case.pattern.lineno, case.pattern.col_offset
        yield Site(line, column, ("never: case ", case.pattern), never)
    if case.guard is not None:
        yield from _of_expression(case, "guard", case.guard)
    yield from _of_statements(case.body)


def _of_expression(parent: ast.AST, name: str, value: ast.expr) -> Iterator[Site]:
    yield from _changes(value, lambda new: setattr(parent, name, new), is_test=name in {"test", "guard"})
    yield from _inside(value)


def _of_expression_in(
    items: list[ast.AST | None] | list[ast.expr] | list[ast.expr | None], index: int, value: ast.expr
) -> Iterator[Site]:
    def put(new: ast.expr) -> None:
        items[index] = new

    yield from _changes(value, put, is_test=False)
    yield from _inside(value)


def _inside(value: ast.expr) -> Iterator[Site]:
    for name, child in ast.iter_fields(value):
        if isinstance(value, ast.JoinedStr | ast.Lambda) or name in {"annotation", "func"}:
            if name == "func" and isinstance(child, ast.Attribute):
                yield from _inside(child)
            continue
        if isinstance(child, ast.expr):
            yield from _of_expression(value, name, child)
        elif isinstance(child, list):
            yield from _of_items(child)


def _of_comprehension(part: ast.comprehension) -> Iterator[Site]:
    yield from _of_expression(part, "iter", part.iter)
    for index, test in enumerate(part.ifs):
        yield from _of_expression_in(part.ifs, index, test)

        def always(index: int = index, test: ast.expr = test) -> None:
            part.ifs[index] = ast.copy_location(ast.Constant(True), test)

        yield Site(test.lineno, test.col_offset, ("always: ", test), always)


def _changes(value: ast.expr, put: Callable[[ast.expr], None], *, is_test: bool) -> Iterator[Site]:
    for what, new in _instead_of(value):

        def make(new: ast.expr = new) -> None:
            put(ast.fix_missing_locations(ast.copy_location(new, value)))

        yield Site(value.lineno, value.col_offset, (value, " -> ", *(what or (new,))), make)
    negates = is_test and not isinstance(value, ast.Compare) and not _is_not(value)
    if negates or (
        isinstance(value, ast.IfExp) and not isinstance(value.test, ast.Compare) and not _is_not(value.test)
    ):
        tested = value.test if isinstance(value, ast.IfExp) else value

        def negate() -> None:
            wrong = ast.copy_location(ast.UnaryOp(ast.Not(), tested), tested)
            if isinstance(value, ast.IfExp):
                value.test = wrong
            else:
                put(wrong)

        yield Site(tested.lineno, tested.col_offset, ("not: ", tested), negate)


def _instead_of(value: ast.expr) -> Iterator[tuple[tuple[str | ast.AST, ...], ast.expr]]:
    """(what to call it, expression) for each expression that may stand there wrongly."""
    match value:
        case ast.Compare():
            yield from _other_comparisons(value)
        case ast.BoolOp(op, values):
            yield (), ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            for index in range(len(values)):
                rest = [*values[:index], *values[index + 1 :]]
                yield (), rest[0] if len(rest) == 1 else ast.BoolOp(op, rest)
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            yield (), operand
        case ast.BinOp(left, ast.BitOr(), right):
            yield (), left
            yield (), right
        case ast.BinOp(left, op, right) if type(op) in ARITHMETIC:
            yield (), ast.BinOp(left, ARITHMETIC[type(op)](), right)
        case ast.Constant():
            yield from _other_constants(value)
        case _:
            yield from _less_of(value)


def _other_comparisons(value: ast.Compare) -> Iterator[tuple[tuple[str | ast.AST, ...], ast.expr]]:
    for index, op in enumerate(value.ops):
        for other in COMPARISONS[type(op)]:
            yield (), ast.Compare(value.left, [*value.ops[:index], other(), *value.ops[index + 1 :]], value.comparators)


def _other_constants(value: ast.Constant) -> Iterator[tuple[tuple[str | ast.AST, ...], ast.expr]]:
    if isinstance(value.value, bool):
        yield (), ast.Constant(not value.value)
    elif isinstance(value.value, int):
        yield (), ast.Constant(value.value + 1)
        yield (), ast.Constant(value.value - 1)
    elif isinstance(value.value, str) and " " not in value.value:
        yield (), ast.Constant(OTHER_TEXT)


def _less_of(value: ast.expr) -> Iterator[tuple[tuple[str | ast.AST, ...], ast.expr]]:
    if isinstance(value, ast.Call):
        yield from _other_calls(value)
    elif isinstance(value, ast.Tuple) and isinstance(value.ctx, ast.Load) and len(value.elts) > 1:
        for index, item in enumerate(value.elts):
            yield ("without ", item), ast.Tuple([*value.elts[:index], *value.elts[index + 1 :]], ast.Load())


def _other_calls(call: ast.Call) -> Iterator[tuple[tuple[str | ast.AST, ...], ast.expr]]:
    for index, keyword in enumerate(call.keywords):
        rest = [*call.keywords[:index], *call.keywords[index + 1 :]]
        if keyword.arg is not None:
            yield (f"without {keyword.arg}=",), ast.Call(call.func, call.args, rest)
    if len(call.args) > 1 and not (isinstance(call.func, ast.Name) and call.func.id in {"min", "max"}):
        yield (), ast.Call(call.func, [call.args[1], call.args[0], *call.args[2:]], call.keywords)


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _only_narrows(statement: ast.stmt) -> bool:
    """`assert x is not None` and `assert isinstance(x, T)` are there for the type checkers."""
    match statement:
        case ast.Assert(ast.Compare(_, [ast.IsNot()], [ast.Constant(None)])):
            return True
        case ast.Assert(ast.Call(ast.Name("isinstance"))):
            return True
    return False


def _is_not(value: ast.expr) -> bool:
    return isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.Not)


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(ast.fix_missing_locations(node)).split())
    return text if len(text) <= 90 else f"{text[:87]}..."
