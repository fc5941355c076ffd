"""The table of scalar functions that Loop IR knows, by name.

For each: how many operands it takes, the NumPy function that defines it (``numpy``), how Python source spells it
(``python``), the C function that computes it in double precision (``libm``; the single precision one has the suffix
``f``), the function of SciPy that computes it in double precision (``scipy``), and where there is one ``compose``, its
formula over simpler functions of this table.
:func:`python_source` writes the Python.

A formula holds for floats. Functions with none of ``libm``, ``scipy`` and ``compose``, and all functions of integers
and bools, are primitives that a renderer must know. Their meaning is NumPy's: integer ``floor_divide`` and
``remainder`` round towards minus infinity, and are 0 where the divisor is 0; a shift by a count that is out of range
gives 0 (-1 for a right shift of a negative number); integers wrap around, and a negative power of one is 0; ``cast`` to
bool is ``!= 0``.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.special

from jitgrad.ir.types import bool_, is_bfloat16, is_float
from jitgrad.loopir import formulas
from jitgrad.loopir.nodes import Expr


@dataclasses.dataclass(frozen=True)
class ScalarFunction:
    """One scalar function; see the module's docstring.

    ``python`` is a format string over ``{0}``, ``{1}``, ... (operands) and ``{T}`` (the result's dtype,
    ``np.float32``); it works on NumPy scalars under CPython and under ``numba.njit``, and keeps single precision
    single. None where Python source goes by ``compose`` too. ``infix`` is an operator that replaces it for 64-bit
    integers and floats.
    """

    name: str
    arity: int
    numpy: Callable[..., Any]
    python: str | None
    infix: str | None = None
    libm: str | None = None
    scipy: str | None = None
    compose: Callable[..., Expr] | None = None


SCALARS: dict[str, ScalarFunction] = {}


def _define(name: str, arity: int, numpy: Any = None, python: str | None = "", **fields: Any) -> None:
    numpy = getattr(np, name) if numpy is None else numpy
    if python == "":
        python = f"np.{name}({', '.join(f'{{{k}}}' for k in range(arity))})"
    SCALARS[name] = ScalarFunction(name, arity, numpy, python, **fields)


for _name, _operator in {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}.items():
    _define(_name, 2, infix=f"({{0}} {_operator} {{1}})")
for _name, _operator in {
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "equal": "==",
    "not_equal": "!=",
}.items():
    _define(_name, 2, python=f"({{0}} {_operator} {{1}})")

_define("product", 2, np.multiply, infix="({0} * {1})")  # rounded, whatever is done with it: no multiply-add
#: Rounded once in machine code. Python source rounds twice: what matters is that all places do the same.
_define("fma", 3, lambda a, b, c: a * b + c, "({0} * {1} + {2})")
_define("negative", 1, infix="(-{0})")
_define("absolute", 1, infix="abs({0})")
_define("sign", 1, compose=formulas.sign)
_define("square", 1, python=None, compose=formulas.square)
_define("reciprocal", 1, python=None, compose=formulas.reciprocal)
_define("floor_divide", 2, compose=formulas.floor_divide)
_define("remainder", 2, compose=formulas.remainder)
_define("fmod", 2, libm="fmod")
_define("power", 2, libm="pow")
_define("maximum", 2, compose=formulas.maximum)
_define("minimum", 2, compose=formulas.minimum)
_define("fmax", 2, compose=formulas.fmax)
_define("fmin", 2, compose=formulas.fmin)
_define("copysign", 2)
_define("heaviside", 2, python=None, compose=formulas.heaviside)
for _name in ("sqrt", "floor", "ceil", "rint", "trunc"):
    _define(_name, 1)

for _name, _libm in {
    "exp": "exp",
    "exp2": "exp2",
    "expm1": "expm1",
    "log": "log",
    "log2": "log2",
    "log10": "log10",
    "log1p": "log1p",
    "cbrt": "cbrt",
    "sin": "sin",
    "cos": "cos",
    "tan": "tan",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "sinh": "sinh",
    "cosh": "cosh",
    "tanh": "tanh",
    "arcsinh": "asinh",
    "arccosh": "acosh",
    "arctanh": "atanh",
}.items():
    _define(_name, 1, libm=_libm)
_define("arctan2", 2, libm="atan2")
_define("hypot", 2, libm="hypot")
_define("log1p_unit", 1, np.log1p, "np.log1p({0})", libm="log1p")  # of a number from 0 to 1
_define("logaddexp", 2, compose=formulas.logaddexp)
_define("logaddexp2", 2, compose=formulas.logaddexp2)

_define("isnan", 1, compose=formulas.isnan)
_define("isinf", 1, compose=formulas.isinf)
_define("isfinite", 1, compose=formulas.isfinite)
_define("signbit", 1, compose=formulas.signbit)

_define("logical_and", 2, python="({0} & {1})")
_define("logical_or", 2, python="({0} | {1})")
_define("logical_xor", 2, python="({0} != {1})")
_define("logical_not", 1, python="(not {0})")
_define("bitwise_and", 2, infix="({0} & {1})")
_define("bitwise_or", 2, infix="({0} | {1})")
_define("bitwise_xor", 2, infix="({0} ^ {1})")
_define("invert", 1, infix="(~{0})")
_define("left_shift", 2, python="{T}(h.left_shift({0}, {1}, {bits}))")
_define("right_shift", 2, python="{T}(h.right_shift({0}, {1}, {bits}))")

_define("where", 3, python="({1} if {0} else {2})")
_define("cast", 1, numpy=np.asarray, python="{T}({0})")

_special = scipy.special
_define("erf", 1, _special.erf, "{T}(math.erf({0}))", libm="erf")
_define("erfc", 1, _special.erfc, "{T}(math.erfc({0}))", libm="erfc")
_define("gammaln", 1, _special.gammaln, "{T}(h.lgamma({0}))", libm="lgamma")
for _name, _oracle, _formula in (
    ("expit", _special.expit, formulas.expit),
    ("logit", _special.logit, formulas.logit),
    ("log_expit", _special.log_expit, formulas.log_expit),
    ("digamma", _special.digamma, formulas.digamma),
    ("trigamma", functools.partial(_special.polygamma, 1), formulas.trigamma),
    ("softplus", lambda x: np.logaddexp(np.zeros_like(x), x), formulas.softplus),
):
    _define(_name, 1, _oracle, None, compose=_formula)
for _order in (2, 3, 4):
    _define(
        f"polygamma{_order}",
        1,
        functools.partial(_special.polygamma, _order),
        None,
        compose=functools.partial(formulas.polygamma, _order),
    )
_define("xlogy", 2, _special.xlogy, None, compose=formulas.xlogy)
_define("xlog1py", 2, _special.xlog1py, None, compose=formulas.xlog1py)

_define("gamma", 1, _special.gamma, "{T}(h.gamma({0}))", libm="tgamma")
#: Functions that SciPy's own code computes, and how many operands they take.
OF_SCIPY = {
    1: """rgamma erfcx dawsn erfinv erfcinv ndtri log_ndtr exp1 expi spence j0 j1 y0 y1 i0 i0e i1 i1e k0 k0e k1
       k1e erfi ndtri_exp exprel ellipk ellipkm1 ellipe""",
    2: """beta betaln gammainc gammaincc gammaincinv gammainccinv jv yv iv ive kv kve stdtr stdtrit binom poch owens_t
       expn struve modstruve hyp0f1""",
    3: "betainc betaincc betaincinv betainccinv hyp1f1 hyperu",
    4: "hyp2f1",
}
for _arity, _names in OF_SCIPY.items():
    for _name in _names.split():
        _operands = ", ".join(f"{{{k}}}" for k in range(_arity))
        _define(_name, _arity, getattr(_special, _name), f"{{T}}(h.{_name}({_operands}))", scipy=_name)


def numpy_name(dtype: np.dtype) -> str:
    """The scalar type of a dtype in Python source."""
    if is_bfloat16(dtype):
        return "ml_dtypes.bfloat16"
    return f"np.{'bool_' if dtype == bool_ else dtype.name}"


def python_source(op: str, args: Sequence[str], dtype: np.dtype, operand_dtype: np.dtype | None = None) -> str | None:
    """A scalar function as a Python expression, or None where ``compose`` is to be rendered instead.

    ``args`` are the operands' source, ``dtype`` is the result's and ``operand_dtype`` that of the operands (by default
    the same). The source uses ``np``, ``math``, ``ml_dtypes``, and ``h`` for ``jitgrad.codegen.pyhelpers``.
    """
    entry = SCALARS[op]
    operand_dtype = dtype if operand_dtype is None else operand_dtype
    if op == "cast" and dtype == bool_:
        return f"({args[0]} != 0)"
    if op == "power" and not is_float(operand_dtype):
        # np.power raises on negative exponents under CPython but not under Numba.
        return f"np.{dtype.name}(h.power({args[0]}, {args[1]}, np.{dtype.name}(1)))"
    wide = is_float(operand_dtype) or operand_dtype.itemsize == 8
    template = entry.infix if entry.infix is not None and wide else entry.python
    if template is None:
        return None
    return template.format(*args, T=numpy_name(dtype), bits=8 * dtype.itemsize)
