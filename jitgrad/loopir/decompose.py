"""Transcendental functions as scalar arithmetic, so that LLVM vectorises the loop around them.

Without it ``exp`` in a loop is a scalar call of the C library. Each expansion below is branch-free: range reduction,
a polynomial, and the exponent put together from bits; special values come out of the arithmetic or of a select. The
functions that have no expansion here stay calls.

Sources: range reduction with a two-part ln 2 and the magic-constant rounding are in Muller et al., Handbook of
Floating-Point Arithmetic, 2nd ed., chapter 10; the polynomials of ``log`` are those of FreeBSD's msun (e_log.c,
e_logf.c), those of ``tanh`` are Moshier's Cephes (tanh.c, tanhf.c); ``exp`` uses the Taylor series, whose remainder on
|r| <= ln(2)/2 is below 5e-18 at degree 13 (float64) and 2e-8 relative to half an ulp at degree 7 (float32).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jitgrad.ir.types import DTYPES
from jitgrad.loopir.lower import with_body
from jitgrad.loopir.nodes import Const, Expr, If, Index, Load, Loop, Program, Scalar, Stmt, While, scalar
from jitgrad.loopir.reductions import any_order
from jitgrad.loopir.scalars import SCALARS
from jitgrad.loopir.walk import expressions, lists_of, rebuild, statements, subexpressions, with_lists

_F32 = DTYPES["f32"]
_LN2_HI = {"f4": 0.693359375, "f8": 6.93147180369123816490e-01}
_LN2_LO = {"f4": -2.12194440e-4, "f8": 1.90821492927058770002e-10}


def _c(value: float, like: Expr) -> Const:
    return Const(value, like.dtype)


def _where(cond: Expr, a: Expr, b: Expr) -> Expr:
    return scalar("where", cond, a, b)


def _fma(a: Expr, b: Expr, c: Expr) -> Expr:
    return scalar("fma", a, b, c)


def _horner(x: Expr, coefficients: Sequence[float]) -> Expr:
    """A polynomial, highest coefficient first."""
    p: Expr = _c(coefficients[0], x)
    for c in coefficients[1:]:
        p = _fma(p, x, _c(c, x))
    return p


def _bits(x: Expr) -> Expr:
    return Scalar("bitcast", (x,), DTYPES["i32" if x.dtype == _F32 else "i64"])


def _from_bits(x: Expr, dtype: np.dtype) -> Expr:
    return Scalar("bitcast", (x,), dtype)


def _mantissa_bits(dtype: np.dtype) -> int:
    return 23 if dtype == _F32 else 52


def _power_of_two(k: Expr, dtype: np.dtype) -> Expr:
    """2**k for an integer k (as wide as the float) within the normal range."""
    bias = 127 if dtype == _F32 else 1023
    return _from_bits(scalar("left_shift", k + bias, Const(_mantissa_bits(dtype), k.dtype)), dtype)


def _reduce_exp(x: Expr) -> tuple[Expr, Expr, Expr]:
    """``(k, k as an integer, r)`` with ``x = k*ln2 + r`` and ``|r| <= ln2/2``.

    Adding 1.5 * 2**(mantissa bits) rounds to the nearest integer and leaves it in the low bits of the sum.
    """
    magic = _c(1.5 * 2.0 ** _mantissa_bits(x.dtype), x)
    t = _fma(x, _c(math.log2(math.e), x), magic)
    k = t - magic
    kind = x.dtype.str[1:]
    r = _fma(k, _c(-_LN2_LO[kind], x), _fma(k, _c(-_LN2_HI[kind], x), x))
    return k, _bits(t) - _bits(magic), r


def _clamp(x: Expr, lo: float, hi: float) -> Expr:
    """Keeps NaN: a comparison with NaN is false."""
    x = _where(x < lo, _c(lo, x), x)
    return _where(x > hi, _c(hi, x), x)


def _exp_series(r: Expr) -> Expr:
    """(exp(r) - 1 - r) / r**2."""
    degree = 7 if r.dtype == _F32 else 13
    return _horner(r, [1 / math.factorial(n) for n in range(degree, 1, -1)])


def exp(x: Expr) -> Expr:
    """The clamp lies just outside the range of finite, nonzero results: the product of the two scale factors then
    overflows to infinity or underflows to a subnormal or zero by itself."""
    x = _clamp(x, -104.0, 89.0) if x.dtype == _F32 else _clamp(x, -746.0, 710.0)
    _, k, r = _reduce_exp(x)
    p = _fma(_exp_series(r), r * r, r) + 1.0
    half = scalar("right_shift", k, Const(1, k.dtype))
    return p * _power_of_two(half, x.dtype) * _power_of_two(k - half, x.dtype)


def expm1(x: Expr) -> Expr:
    """``2**k * (exp(r) - 1) + (2**k - 1)``; exact zero and its sign are kept by the select."""
    original = x
    x = _clamp(x, -30.0, 88.8) if x.dtype == _F32 else _clamp(x, -60.0, 709.8)
    _, k, r = _reduce_exp(x)
    p = _fma(_exp_series(r), r * r, r)
    # 2**k alone would overflow at the upper end, where k is one more than the largest exponent.
    half = _power_of_two(k - 1, x.dtype)
    value = (_fma(half, p, half - 0.5)) * 2.0
    limit = 88.722839 if x.dtype == _F32 else 709.782712893384
    value = _where(original > limit, _c(np.inf, x), value)
    return _where(original.eq(0.0), original, value)


_LOG64 = (
    1.479819860511658591e-01,
    1.531383769920937332e-01,
    1.818357216161805012e-01,
    2.222219843214978396e-01,
    2.857142874366239149e-01,
    3.999999999940941908e-01,
    6.666666666666735130e-01,
)


def log(x: Expr) -> Expr:
    """``x = 2**k * (1 + f)`` with ``sqrt(1/2) <= 1 + f < sqrt(2)``, and ``log(1+f)`` from ``s = f / (2 + f)``."""
    dtype, single = x.dtype, x.dtype == _F32
    tiny = x < float(np.finfo(dtype).tiny)
    lift = 25 if single else 54
    scaled = _where(tiny, x * 2.0**lift, x)
    root = Const(math.sqrt(0.5), dtype)
    one = Const(1.0, dtype)
    bits = _bits(scaled) + (_bits(one) - _bits(root))
    shift = Const(_mantissa_bits(dtype), bits.dtype)
    bias = 127 if single else 1023
    k = scalar("right_shift", bits, shift) - bias - _where(tiny, Const(lift, bits.dtype), Const(0, bits.dtype))
    mask = Const((1 << _mantissa_bits(dtype)) - 1, bits.dtype)
    m = _from_bits(scalar("bitwise_and", bits, mask) + _bits(root), dtype)
    # An integer of few bits becomes a float by adding it to the bits of the magic constant (no AVX2 conversion exists).
    magic = Const(1.5 * 2.0 ** _mantissa_bits(dtype), dtype)
    kf = _from_bits(_bits(magic) + k, dtype) - magic
    f = m - 1.0
    s = f / (f + 2.0)
    z = s * s
    if single:
        r = z * _horner(z, (0.24279078841, 0.28498786688, 0.40000972152, 0.66666662693))
        hi, lo = 6.9313812256e-01, 9.0580006145e-06
    else:
        r = z * _horner(z, _LOG64)
        hi, lo = 6.93147180369123816490e-01, 1.90821492927058770002e-10
    half_square = f * f * 0.5
    value = _fma(kf, _c(hi, x), f - (half_square - _fma(s, half_square + r, kf * lo)))
    value = _where(x.eq(np.inf), x, value)
    value = _where(x < 0.0, _c(np.nan, x), value)
    value = _where(x.eq(0.0), _c(-np.inf, x), value)
    return _where(x.ne(x), x, value)


def log1p(x: Expr) -> Expr:
    """``log(u) * x / (u - 1)`` with ``u = 1 + x`` rounded: the two errors cancel (Higham, Accuracy and Stability of
    Numerical Algorithms, 2nd ed., section 1.14.1)."""
    u = x + 1.0
    d = u - 1.0
    value = _where(d.eq(0.0), x, log(u) * x / d)
    return _where(x.eq(np.inf), x, _where(u.eq(0.0), _c(-np.inf, x), value))


def tanh(x: Expr) -> Expr:
    """An odd rational or polynomial below 0.625, ``1 - 2 / (exp(2|x|) + 1)`` above."""
    a = scalar("absolute", x)
    z = x * x
    if x.dtype == _F32:
        p = _horner(z, (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1))
    else:
        p = _horner(z, (-9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3))
        q = _horner(z, (1.0, 1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3))
        p = p / q
    small = _fma(x * z, p, x)
    large = 1.0 - 2.0 / (exp(a * 2.0) + 1.0)
    return scalar("copysign", _where(a < 0.625, small, large), x)  # the sum above loses the sign of -0.0


EXPANSIONS: dict[str, Callable[..., Expr]] = {"exp": exp, "expm1": expm1, "log": log, "log1p": log1p, "tanh": tanh}


def decompose(program: Program) -> Program:
    """The program with every function of :data:`EXPANSIONS` expanded, and with the formulas of functions that are
    composed of others (``expit``, ``logaddexp``, ...) put in.

    In an innermost loop whose iterations need each other the functions of the C library stay: nothing is vectorised
    there, and they are faster.
    """
    visitors = {expand: _Visitor(expand) for expand in (True, False)}
    return with_body(program, (_decomposed(s, visitors) for s in program.body))


def _decomposed(s: Stmt, visitors: Mapping[bool, _Visitor]) -> Stmt:
    if not lists_of(s):
        return rebuild(s, visitors[True].visit)
    if isinstance(s, (Loop, While)) and not any(isinstance(x, (Loop, While)) for x in statements(s.body)):
        expand = not _transcendental(s) or (isinstance(s, Loop) and any_order(s))
        return rebuild(s, visitors[expand].visit)
    inner = with_lists(s, lambda body: tuple(_decomposed(x, visitors) for x in body))
    if isinstance(inner, (If, While)):
        return dataclasses.replace(inner, cond=visitors[True].visit(inner.cond))
    return inner


def _transcendental(s: Stmt) -> bool:
    """Whether a statement has functions to expand."""
    parts = subexpressions(e for x in statements((s,)) for e in expressions(x))
    return any(isinstance(e, Scalar) and (e.op in EXPANSIONS or SCALARS[e.op].compose is not None) for e in parts)


class _Visitor:
    """Maps expressions; ``expand`` tells whether functions of the C library are expanded."""

    def __init__(self, expand: bool) -> None:
        self.expand = expand
        self.done: dict[Expr, Expr] = {}

    def visit(self, e: Expr) -> Expr:
        found = self.done.get(e)
        if found is None:
            found = self.done[e] = _expand(e, self.visit, self.expand)
        return found


def _expand(e: Expr, visit: Callable[[Expr], Expr], expand: bool) -> Expr:
    if isinstance(e, (Load, Index)) or not isinstance(e, Scalar):
        return e  # indices are integer arithmetic: nothing to expand
    args = tuple(map(visit, e.args))
    if e.args[0].dtype.kind == "f":
        if e.op in EXPANSIONS and expand:
            return EXPANSIONS[e.op](*args)
        spec = SCALARS.get(e.op)
        if (
            spec is not None
            and spec.compose is not None
            and e.op not in ("square", "reciprocal", "maximum", "minimum", "fmax", "fmin")
        ):
            return visit(spec.compose(*args))
    return e if args == e.args else Scalar(e.op, args, e.dtype)
