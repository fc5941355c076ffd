"""Loop IR rendered as Python source, nearly one to one.

It is what ``source()`` shows. Run by CPython it is the oracle for the compiled kernels; compiled by ``numba.njit`` it
is a second backend for cross-checks. The rendered function takes every buffer as an array (arguments, constants,
results, temporaries, in this order) and returns a status: 0, or a key of ``jitgrad.loopir.failures.FAILURES``. An array
whose extents are not numbers is flat, and indexed by offset.

Every value keeps its dtype: constants are written in it, and integers narrower than 64 bits go through functions that
wrap around. A subexpression that is used more than once in a block gets a name, which holds until something that it
reads is written.
"""

from __future__ import annotations

import dataclasses
import itertools
import linecache
import math
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from jitgrad.codegen import pyhelpers
from jitgrad.codegen.python_expr import (
    Expressions,
    Names,
    Spelling,
    Uses,
    Versions,
    bindable,
    count_uses,
    identifier,
)
from jitgrad.errors import ArgumentError, CompilationError
from jitgrad.ir.index import Dim, IndexExpr, Sym, as_sym
from jitgrad.ir.types import SHORT_NAMES, bool_, i64, is_float, is_short
from jitgrad.loopir.build import flatten_index
from jitgrad.loopir.failures import FAILURES, exception
from jitgrad.loopir.nodes import (
    UPDATES,
    Alloc,
    Assign,
    Block,
    Buffer,
    Comment,
    Const,
    Expr,
    Fail,
    Fetch,
    If,
    Index,
    Let,
    LibCall,
    Load,
    Local,
    Loop,
    Program,
    Scalar,
    Stmt,
    Store,
    While,
    scalar,
)
from jitgrad.loopir.printer import Text, buffers, index_text
from jitgrad.loopir.scalars import numpy_name
from jitgrad.loopir.walk import statements, written

#: Longer expressions are split: the part gets a name of its own.
_MAX_LENGTH = 88
_KINDS = {
    "arg": "arguments",
    "inout": "arguments that change",
    "const": "constants",
    "out": "results",
    "temp": "temporaries",
}

#: A compiled program: arrays of the parameters' types to a tuple of fresh result arrays.
Runner = Callable[..., tuple[np.ndarray, ...]]


@dataclasses.dataclass(frozen=True)
class Source:
    """A rendered program: its text, the name of the function in it, and what its parameters are, in order."""

    text: str
    name: str
    parameters: tuple[Buffer, ...]


def render(program: Program) -> str:
    """The program as readable Python source."""
    return generate(program).text


def generate(program: Program) -> Source:
    """The program as Python source, with what is needed to call it."""
    return Renderer(program).source()


def _parameters(found: Iterable[Buffer]) -> list[Buffer]:
    """The owners of storage in the order in which the rendered function takes them."""
    owners = dict.fromkeys(t.root for t in found)
    return sorted(owners, key=lambda t: list(_KINDS).index(t.kind))  # stable


class Renderer:
    """Renders one program. ``self.lines`` is the text so far; ``self.depth`` the indentation.

    Renderers for other targets derive from it; they have spellings and names of elements of their own.
    """

    def __init__(self, program: Program, spelling: Spelling | None = None) -> None:
        self.program = program
        self.spelling = spelling or Spelling()
        self.lines: list[str] = []
        self.depth = 1
        self.names = Names()
        self.expressions = Expressions(self.spelling)
        self.versions = Versions(self.expressions)
        self.uses: Uses = Uses()
        self.bound: dict[tuple[Expr, int], str] = {}
        self.scope: list[tuple[Any, str]] = []  # what to forget at the end of the innermost block
        self.comment: list[str] = []  # the last one on where code comes from
        self.buffers: dict[Buffer, str] = {}
        self.variables: dict[Sym, str] = {}
        self.locals: dict[Local, str] = {}

    # The function

    def source(self) -> Source:
        found = buffers(self.program)
        parameters = _parameters(found)
        name = self.names.fresh(self.program.name, "function")
        for t in parameters:
            self.buffers[t] = self.names.fresh(t.name, "buffer")
        parameters = [t for t in parameters if t.capacity is not None]
        head = f"def {name}({', '.join(self.buffers[t] for t in parameters)}):"
        for kind, title in _KINDS.items():
            listed = [f"{self.buffers[t]}: {_type(t)}" for t in parameters if t.kind == kind]
            self.lines += _wrapped(f"    # {title}: ", listed)
        self.aliases(found)
        self.block(self.program.body, top=True)
        self.line("return 0")
        return Source("\n".join([head, *self.lines, ""]), name, tuple(parameters))

    def aliases(self, found: Iterable[Buffer]) -> None:
        """Views of storage under another shape."""
        known: dict[tuple[Buffer, np.dtype, tuple[Dim, ...]], str] = {}
        for t in found:
            root = t.root
            if (t.dtype, t.shape) == (root.dtype, root.shape) or not root.is_static:
                self.buffers[t] = self.buffers[root]
                continue
            key = (root, t.dtype, t.shape)
            if key not in known:
                suffix = "flat" if len(t.shape) == 1 else "x".join(map(str, t.shape)) or "scalar"
                known[key] = self.names.fresh(f"{self.buffers[root]}_{suffix}", "buffer")
                self.line(f"{known[key]} = {self.buffers[root]}{_view(t, root)}")
            self.buffers[t] = known[key]

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    # Blocks

    def block(self, stmts: Sequence[Stmt], top: bool = False) -> None:
        """Statements in a scope of their own; the caller has indented."""
        outer = self.uses, self.scope
        self.uses, self.scope = count_uses(stmts, self.expressions, self.versions), []
        before = len(self.lines)
        for s in stmts:
            if top:
                self.origin(s)
            self.statement(s)
        if not any(text.strip() and not text.lstrip().startswith("#") for text in self.lines[before:]) and not top:
            self.line("pass")
        for key, _ in self.scope:
            self.bound.pop(key, None)
        self.names.release(name for _, name in self.scope)
        self.uses, self.scope = outer

    def nested(self, stmts: Sequence[Stmt]) -> None:
        self.depth += 1
        self.block(stmts)
        self.depth -= 1

    def origin(self, s: Stmt) -> None:
        """A comment that says which of the user's lines a top-level statement computes."""
        places: dict[str, dict[str, None]] = {}
        for inner in statements((s,)):
            targets = (inner.buffer,) if isinstance(inner, Store) else inner.outs if isinstance(inner, LibCall) else ()
            for t in targets:
                loc = t.loc or t.root.loc
                if loc is not None:
                    places.setdefault(loc.short(), {})[self.buffers[t.root]] = None
        comment = [f"# {', '.join(written_here)}: {place}" for place, written_here in places.items()]
        if not comment or comment == self.comment:
            return
        self.comment = comment
        self.lines.append("")
        for text in comment:
            self.line(text)

    def statement(self, s: Stmt) -> None:
        if isinstance(s, Block):
            self.block(s.body)
        elif isinstance(s, Loop):
            self.loop(s)
        elif isinstance(s, While):
            self.repeat(s)
        elif isinstance(s, If):
            self.conditional(s)
        elif isinstance(s, Block):
            self.block(s.body)
        elif isinstance(s, Store):
            self.update(self.element(s.buffer, s.index, self.symbol), s.buffer.dtype, s.mode, s.value)
        elif isinstance(s, Let):
            value = self.expr(s.value).text
            self.locals[s.local] = self.names.fresh(s.local.name.rstrip("0123456789") or s.local.name, s.local.dtype)
            self.scope.append((s.local, self.locals[s.local]))
            self.line(f"{self.locals[s.local]} = {value}")
        elif isinstance(s, Assign):
            self.update(self.locals[s.local], s.local.dtype, s.mode, s.value)
        elif isinstance(s, LibCall):
            self.libcall(s)
        elif isinstance(s, Fail):
            reason = FAILURES[s.code][1] if s.error is None else " ".join(s.error.text.split())
            self.line(f"return {s.code}  # {reason}")
        elif isinstance(s, Alloc):
            size, dtype = self.dim(s.buffer.size).text, self.spelling.dtype(s.buffer.dtype)
            self.line(f"{self.buffers[s.buffer]} = np.empty({size}, {dtype})")
        elif isinstance(s, Comment):
            self.lines += [f"{'    ' * self.depth}# {text}" for text in s.text.splitlines()]
        elif not isinstance(s, Fetch):  # which changes nothing
            raise CompilationError(f"no Python source for {s!r}")
        if isinstance(s, (Store, Let, Assign, LibCall)):
            self.versions.after(s)

    def loop(self, s: Loop) -> None:
        lo, hi = self.dim(s.lo).text, self.dim(s.hi).text
        bounds = [lo, hi, str(s.step)] if s.step != 1 else [lo, hi] if lo != "0" else [hi]
        name = self.names.first("ijklmnpqr", "loop")
        self.variables[s.var] = name
        changed = written(s.body)
        self.versions.touch(changed)
        self.line(f"for {name} in range({', '.join(bounds)}):" + ("  # parallel" if s.kind == "parallel" else ""))
        self.nested(s.body)
        self.versions.touch(changed)
        self.names.release((name,))

    def repeat(self, s: While) -> None:
        changed = written(s.body)
        self.versions.touch(changed)
        before = len(self.lines)
        outer = self.uses, self.scope
        self.scope = []
        self.depth += 1
        self.uses = count_uses((If(s.cond, ()),), self.expressions, self.versions)
        cond = self.expr(s.cond)
        self.depth -= 1
        if len(self.lines) == before:
            self.line(f"while {cond.text}:")
        else:  # the condition needs names of its own, which must be computed anew each time
            self.lines.insert(before, "    " * self.depth + "while True:")
            self.depth += 1
            self.line(f"if not {cond.within(4)}:")
            self.line("    break")
            self.depth -= 1
        for key, _ in self.scope:
            self.bound.pop(key, None)
        self.names.release(name for _, name in self.scope)
        self.uses, self.scope = outer
        self.nested(s.body)
        self.versions.touch(changed)

    def conditional(self, s: If) -> None:
        self.line(f"if {self.expr(s.cond).text}:")
        self.nested(s.then)
        if s.orelse:
            self.line("else:")
            self.nested(s.orelse)

    def update(self, target: str, dtype: np.dtype, mode: str, value: Expr) -> None:
        """``target mode value`` for an array element or a local."""
        if mode == "=":
            plain = isinstance(value, Const) and target.endswith("]")  # the array converts it
            self.line(f"{target} = {self.spelling.stored(value).text if plain else self.expr(value).text}")  # pyright: ignore[reportArgumentType]
            return
        if mode in ("+=", "*=") and dtype == bool_:
            mode = "or=" if mode == "+=" else "and="
        text = self.expr(value)
        name = UPDATES[mode]
        # A stand-in for the old value, so that the operation is spelled in one place.
        probe = Local("old", dtype)
        combined = scalar(name, probe, value, dtype=dtype)
        if self.expressions.formula(combined) is not None:
            raise CompilationError(f"no Python source for the update {mode!r}")
        new = self.spelling.scalar(combined, (Text(target), text)).text
        for operator in ("+", "*"):
            if new.startswith(f"{target} {operator} "):
                new = f"{target} {operator}= {text.text}"
                self.line(new)
                return
        self.line(f"{target} = {new}")

    def libcall(self, s: LibCall) -> None:
        outs = "".join(f"{self.buffers[t]}, " for t in s.outs)
        ins = "".join(f"{self.buffers[t]}, " for t in s.ins)
        static = "".join(f", {name}={value!r}" for name, value in s.static)
        text = f"lib.{identifier(s.fn)}(({_tuple_body(outs)}), ({_tuple_body(ins)}){static})"
        self.line(f"status = {text}")
        self.line("if status:")
        self.line("    return status")

    # Expressions

    def element(self, t: Buffer, index: Sequence[Dim], symbol: Callable[[Sym], Text]) -> str:
        """An element of an array; ``symbol`` gives the text of what the index depends on."""
        subscript = ", ".join(self.index(k, symbol).text for k in _places(t, index)) or "()"
        return f"{self.buffers[t]}[{subscript}]"

    def index(self, e: Dim, symbol: Callable[[Sym], Text]) -> Text:
        """An index expression."""
        return index_text(e, symbol)

    def dim(self, e: Dim) -> Text:
        """An index, after naming what its dynamic parts need."""
        return self.index(e, self.symbol)

    def symbol(self, s: Sym) -> Text:
        if s.payload is None:
            return Text(self.variables[s])
        return self.spelling.integer(self.expr(s.payload).text)

    def expr(self, root: Expr) -> Text:
        """The text of an expression, after naming the parts of it that are used again."""
        texts: dict[Expr, Text] = {}

        def known(e: Expr) -> bool:
            if e not in texts:
                name = self.bound.get((e, self.versions.of(e)))
                if name is not None:
                    texts[e] = Text(name)
            return e in texts

        for e in self.expressions.postorder(root, known):
            text = self.plain(e, texts)
            key = (e, self.versions.of(e))
            long = len(text.text) > _MAX_LENGTH and e is not root
            if bindable(e) and (self.uses[key] > 1 or long) and not _is_name(text):
                name = self.names.fresh(self.wanted(e), e.dtype)
                self.line(f"{name} = {text.text}")
                self.bound[key] = name
                self.scope.append((key, name))
                text = Text(name)
            texts[e] = text
        known(root)
        return texts[root]

    def is_bound(self, e: Expr) -> bool:
        return (e, self.versions.of(e)) in self.bound

    def plain(self, e: Expr, texts: dict[Expr, Text]) -> Text:
        """An expression whose operands have texts."""
        if isinstance(e, Const):
            return self.spelling.literal(e)
        if isinstance(e, Local):
            return Text(self.locals[e])
        if isinstance(e, Scalar):
            if e.op == "cast" and isinstance(e.args[0], Index) and e.dtype != bool_ and not self.is_bound(e.args[0]):
                wide, own = self.spelling.dtype(i64), self.spelling.dtype(e.dtype)
                return Text(f"{own}({texts[e.args[0]].text.removeprefix(f'{wide}(')}")
            formula = self.expressions.formula(e)
            return texts[formula] if formula is not None else self.spelling.scalar(e, [texts[a] for a in e.args])

        def symbol(s: Sym) -> Text:
            return Text(self.variables[s]) if s.payload is None else self.spelling.integer(texts[s.payload].text)

        if isinstance(e, Load):
            return Text(self.element(e.buffer, e.index, symbol))
        if isinstance(e, Index):
            return Text(f"{self.spelling.dtype(i64)}({self.index(e.index, symbol).text})")
        raise CompilationError(f"no Python source for {e!r}")

    def wanted(self, e: Expr) -> str:
        """What to call the value of an expression: ``x_ij`` for ``x[i, j]``, else ``v``."""
        if not isinstance(e, Load):
            return "v"
        letters = [as_sym(k) for k in e.index if isinstance(k, IndexExpr)]
        if any(s is None or s.payload is not None for s in letters):
            return "v"
        digits = [str(k) if isinstance(k, int) else self.variables[as_sym(k)] for k in e.index]  # pyright: ignore[reportArgumentType]
        return f"{self.buffers[e.buffer]}_{''.join(digits) if digits else 'value'}"


def _places(t: Buffer, index: Sequence[Dim]) -> Sequence[Dim]:
    """What an access is written with: an offset where the array is flat."""
    return index if t.root.is_static else (flatten_index(t.shape, index),)


def _is_name(t: Text) -> bool:
    return t.text.isidentifier()


def _type(t: Buffer) -> str:
    extents = t.shape if t.is_static else (t.capacity,)
    return f"{SHORT_NAMES[t.dtype]}[{','.join(map(str, extents))}]"


def _tuple_body(items: str) -> str:
    """``"a, "`` to ``"a,"`` and ``"a, b, "`` to ``"a, b"``."""
    return items.rstrip(", ") + ("," if items.count(",") == 1 else "")


def _view(t: Buffer, root: Buffer) -> str:
    """What makes a view of ``t``'s type out of the storage of ``root``."""
    text = ""
    if t.dtype != root.dtype:
        text += f".reshape(-1).view({numpy_name(t.dtype)})"
    if t.nbytes != root.nbytes:
        text += f"{'' if text else '.reshape(-1)'}[:{t.size}]"
    shape = "()" if not t.shape else ", ".join(map(str, t.shape))
    return f"{text}.reshape({shape})"


def _wrapped(head: str, items: Sequence[str]) -> Iterator[str]:
    """A comment with a list of items, on as many lines as it takes."""
    line = head
    for k, item in enumerate(items):
        piece = item + (", " if k + 1 < len(items) else "")
        if len(line) + len(piece) > 110 and line.strip() != "#":
            yield line.rstrip()
            line = "    #     "
        line += piece
    if items:
        yield line.rstrip()


# Running


_serial = itertools.count()


def _load(source: Source, namespace: dict[str, Any]) -> Callable[..., int]:
    """The rendered function. Its text is registered, so that tracebacks show its lines."""
    filename = f"<jitgrad {source.name} {next(_serial)}>"
    linecache.cache[filename] = (len(source.text), None, source.text.splitlines(True), filename)
    exec(compile(source.text, filename, "exec"), namespace)
    return namespace[source.name]


def compile_python(program: Program) -> Runner:
    """The program run by CPython: slow, exact in every dtype."""
    source = generate(program)
    namespace: dict[str, Any] = {
        "np": np,
        "math": math,
        "helpers": pyhelpers,
        "ml_dtypes": sys.modules.get("ml_dtypes"),
    }
    called = sorted({s.fn for s in statements(program.body) if isinstance(s, LibCall)})
    if called:
        from jitgrad.codegen.libcalls import LIBRARY

        namespace["lib"] = types.SimpleNamespace(**{identifier(fn): LIBRARY[fn].python for fn in called})
    return _runner(program, source, _load(source, namespace))


def compile_numba(program: Program) -> Runner:
    """The same source compiled by ``numba.njit``: a second native backend, for cross-checks.

    Raises CompilationError for a program with library calls, float16 or bfloat16.
    """
    import numba

    calls = sorted({s.fn for s in statements(program.body) if isinstance(s, LibCall)})
    if calls:
        raise CompilationError(
            f"the Numba backend can't compile library calls, and {program.name} calls {', '.join(calls)}. They are "
            "bound for the LLVM and the Python backend only. Set config.backend to 'llvm' or 'python'."
        )
    source = generate(program)
    buffers = (*program.params, *program.results, *program.constants, *program.temporaries)
    short = {t.dtype.name for t in buffers if is_short(t.dtype)} | set(re.findall(r"\.(b?float16)\(", source.text))
    if short:
        raise CompilationError(
            f"the Numba backend can't compile {program.name}, in which there is {' and '.join(sorted(short))}. Numba "
            "has no such type on the CPU. Set config.backend to 'llvm' or 'python'."
        )
    for name in re.findall(r"\bhelpers\.(\w+)", source.text):
        getattr(pyhelpers, name)  # some are made then; Numba looks only at what the module has
    function = _load(source, {"np": np, "math": math, "helpers": pyhelpers})
    return _runner(program, source, numba.njit(error_model="numpy")(function))


def run(program: Program, *arrays: Any) -> tuple[np.ndarray, ...]:
    """Run a program with CPython. Returns its results; raises what ``FAILURES`` says for a nonzero status."""
    return compile_python(program)(*arrays)


def _runner(program: Program, source: Source, function: Callable[..., int]) -> Runner:
    def call(*arrays: Any) -> tuple[np.ndarray, ...]:
        memory = dict(zip(program.params, _checked(program, arrays), strict=True))
        for t in source.parameters:
            if t not in memory:
                memory[t] = np.array(t.data, t.dtype, order="C", ndmin=0) if t.kind == "const" else _garbage(t)
        with np.errstate(all="ignore"):
            status = int(function(*(memory[t] for t in source.parameters)))
        results = tuple(_as_result(memory[t.root], t) for t in program.results)
        if status:
            failing = (s for s in statements(program.body) if isinstance(s, Fail) and s.code == status)
            raise exception(status, failing, None if program.record is None else results[-1])
        return results if program.record is None else results[:-1]

    return call


def _checked(program: Program, arrays: Sequence[Any]) -> Iterator[np.ndarray]:
    """The arguments as contiguous arrays. Raises ArgumentError where they do not fit."""
    if len(arrays) != len(program.params):
        raise ArgumentError(
            f"{program.name} takes {len(program.params)} arrays, not {len(arrays)}. A program's parameters are those "
            "of its graph, leaf by leaf. Pass one array for each."
        )
    for t, array in zip(program.params, arrays, strict=True):
        a = np.asarray(array)
        if a.dtype != t.dtype or a.shape != t.shape:
            raise ArgumentError(
                f"{t.name} of {program.name} is a {a.dtype} array of shape {a.shape}. The program was made for "
                f"{_type(t)}. Compile it again for these types."
            )
        if t.kind == "inout" and not (a.flags.c_contiguous and a.flags.writeable):
            raise ArgumentError(
                f"{t.name} of {program.name} changes, and the array is not contiguous or read-only. Results of such a "
                "program are written into the argument. Pass a copy."
            )
        yield a if t.kind == "inout" else np.ascontiguousarray(a, t.dtype).reshape(t.static_shape)


def _garbage(t: Buffer) -> np.ndarray:
    """Storage that has not been written: NaN or -86, so that reading it is noticed."""
    shape = t.static_shape if t.is_static else (t.capacity or 0,)
    if is_float(t.dtype):
        return np.full(shape, np.nan, t.dtype)
    fill = bytearray(b"\x01" if t.dtype == bool_ else b"\xaa") * t.nbytes
    return np.frombuffer(fill, t.dtype).reshape(shape)


def _as_result(array: np.ndarray, t: Buffer) -> np.ndarray:
    if array.dtype != t.dtype:
        array = array.reshape(-1).view(t.dtype)
    return array.reshape(-1)[: t.size].reshape(t.static_shape)
