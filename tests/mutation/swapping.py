"""A function is broken by giving it the mutant's code: whoever holds the function, by whatever name, then calls the mutant."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cache, lru_cache
from types import CodeType, FunctionType

from tests.mutation.mutants import Mutant, mutated, source

Shape = tuple[object, ...]


NOTHING, WHAT_RUNS_AT_IMPORT = "", "<module>"


@cache
def broken(mutant: Mutant) -> str:
    """What a mutant changes: the qualified name of a function, WHAT_RUNS_AT_IMPORT, or NOTHING that the compiler can tell."""
    whole, changed = _original(mutant.module), _compiled(mutant)
    if _outside(whole) != _outside(changed):
        return WHAT_RUNS_AT_IMPORT
    ours, theirs = dict(_functions(whole)), dict(_functions(changed))
    names = [name for name in ours if _shape(ours[name]) != _shape(theirs[name])]
    if not names:
        return NOTHING
    return names[0] if len(names) == 1 and "<" not in names[0] else WHAT_RUNS_AT_IMPORT


def swap(mutant: Mutant) -> None:
    """Break the function in this process."""
    name = broken(mutant)
    assert name not in {NOTHING, WHAT_RUNS_AT_IMPORT}, "only a function can be given other code"
    held: object = importlib.import_module(mutant.module)
    for part in name.split("."):
        held = held.__dict__[part]
    if isinstance(held, property):
        held = held.fget
    if hasattr(held, "cache_clear"):
        held.cache_clear()
        held = held.__wrapped__  # type: ignore[attr-defined]
    assert isinstance(held, FunctionType), f"{name} of {mutant.module} is no plain function"
    held.__code__ = dict(_functions(_compiled(mutant)))[name]


@lru_cache(maxsize=64)
def _original(module: str) -> CodeType:
    return compile(source(module), module, "exec")


def _compiled(mutant: Mutant) -> CodeType:
    return compile(mutated(mutant), mutant.module, "exec")


def _functions(code: CodeType, prefix: str = "") -> Iterator[tuple[str, CodeType]]:
    """(qualified name, code) of every function of a module and of its classes; what is inside a function belongs to it."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            name = f"{prefix}{constant.co_name}"
            if _is_class_body(constant):
                yield from _functions(constant, f"{name}.")
            else:
                yield name, constant


def _outside(code: CodeType) -> Shape:
    """What runs at import: everything but the insides of functions."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return (_flat(code), *(_outside(each) if _is_class_body(each) else each.co_name for each in inner))


def _shape(code: CodeType) -> Shape:
    return (_flat(code), *(_shape(constant) for constant in code.co_consts if isinstance(constant, CodeType)))


def _flat(code: CodeType) -> Shape:
    plain = tuple(
        (type(constant).__name__, repr(constant)) for constant in code.co_consts if not isinstance(constant, CodeType)
    )
    names = (code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return (code.co_code, plain, names, code.co_argcount, code.co_kwonlyargcount, code.co_flags)


def _is_class_body(code: CodeType) -> bool:
    return "__qualname__" in code.co_names
