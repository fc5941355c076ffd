"""``python -m benchmarks.minimax``: find the polynomials of ``jitgrad/loopir/expansions/coefficients.py``.

    python -m benchmarks.minimax                 all of them, printed with their errors
    python -m benchmarks.minimax SIN EXP         some of them
    python -m benchmarks.minimax --write         all of them, written into the module

Each is the polynomial of least greatest weighted error on an interval, by Remez' exchange algorithm on a fine grid of
Chebyshev points (E. Remez, 1934; see Muller, Elementary Functions, 3rd ed., section 3.5), in 60 digits. Coefficients
are then rounded to the working precision from the lowest degree up, the rest being fitted anew after each rounding, as
the error of a low coefficient is seen whole and that of a high one hardly. Needs mpmath.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
from mpmath import mp, mpf

TARGET = Path(__file__).resolve().parent.parent / "jitgrad" / "loopir" / "expansions" / "coefficients.py"
GRID = 600
DIGITS = 60


@dataclasses.dataclass(frozen=True)
class Fit:
    """One polynomial ``P(t)`` for ``f(t)`` on ``[lo, hi]``; what is minimised is ``|weight(t) * (P(t) - f(t))|``.

    ``what`` says in words what it is. Coefficients are rounded to ``dtype``; the first one is given in two parts where
    ``double`` is true.
    """

    name: str
    what: str
    f: Callable[[Any], Any]
    lo: Any
    hi: Any
    degree: int
    weight: Callable[[Any], Any]
    dtype: str = "f8"
    double: bool = False


def _value(c: Sequence[Any], t: Any) -> Any:
    total = mpf(0)
    for a in reversed(c):
        total = total * t + a
    return total


def _exchange(t: list[Any], f: list[Any], w: list[Any], first: int, degree: int) -> list[Any]:
    """The coefficients of t**first .. t**degree of the best weighted approximation on a grid."""
    n = degree - first + 1
    points = len(t)
    pick = [round((points - 1) * (1 - np.cos(np.pi * k / n)) / 2) for k in range(n + 1)]
    best: list[Any] = []
    for _ in range(30):
        system = mp.matrix(n + 1, n + 1)
        rhs = mp.matrix(n + 1, 1)
        for row, k in enumerate(pick):
            power = t[k] ** first
            for column in range(n):
                system[row, column] = power * w[k]
                power *= t[k]
            system[row, n] = (-1) ** row
            rhs[row] = f[k] * w[k]
        solution = mpmath.lu_solve(system, rhs)
        best = [solution[k] for k in range(n)]
        level = abs(solution[n])
        full = [mpf(0)] * first + best
        error = [(_value(full, x) - y) * v for x, y, v in zip(t, f, w, strict=True)]
        # One extremum for each run of errors of one sign; of too many, the n + 1 neighbours with the largest ones.
        runs: list[int] = []
        for k, e in enumerate(error):
            if runs and (error[runs[-1]] < 0) == (e < 0):
                if abs(e) > abs(error[runs[-1]]):
                    runs[-1] = k
            else:
                runs.append(k)
        while len(runs) > n + 1:
            runs.pop(0 if abs(error[runs[0]]) < abs(error[runs[-1]]) else -1)
        if len(runs) < n + 1 or runs == pick or max(map(abs, error)) <= level * mpf("1.0001"):
            break
        pick = runs
    return best


def _rounded(c: Any, dtype: str) -> float:
    return float(np.float32(float(c))) if dtype == "f4" else float(c)


def fit(p: Fit) -> tuple[list[float], float]:
    """Rounded coefficients, lowest degree first, and log2 of their greatest weighted error."""
    mp.dps = DIGITS
    lo, hi = mpf(p.lo), mpf(p.hi)
    t = [lo + (hi - lo) * (1 - mpmath.cos(mpmath.pi * (k + mpf(1) / 2) / GRID)) / 2 for k in range(GRID)]
    f = [p.f(x) for x in t]
    w = [p.weight(x) for x in t]
    tries = []
    for refits in (3, 0):
        done: list[Any] = []
        while len(done) <= p.degree:
            rest = [y - _value(done, x) for x, y in zip(t, f, strict=True)]
            found = _exchange(t, rest, w, len(done), p.degree)
            if p.double and not done:
                done.append(sum(map(mpf, _split(found[0], [None, None]))))
                done += [_rounded(c, p.dtype) for c in found[1:]] if refits == 0 else []
                continue
            # Beyond the first few, one more fit would not change what the rounding does.
            count = 1 if len(done) < refits else len(found)
            done += [_rounded(c, p.dtype) for c in found[:count]]
        error = max(abs((_value(done, x) - y) * v) for x, y, v in zip(t, f, w, strict=True))
        tries.append((float(mpmath.log(error, 2)), done))
    # Powers from t on can't fit anything about 0, where all are 0: with 0 inside, no refits may be better.
    error, done = min(tries, key=lambda tried: tried[0])
    return ([*_split(done[0], [None, None]), *done[1:]] if p.double else done), error


def _split(c: Any, bits: Sequence[int | None], dtype: str = "f8") -> list[float]:
    """A constant as a sum of numbers, each of so many bits (None: as many as the dtype has)."""
    parts = []
    for n in bits:
        if n is None:
            part = _rounded(c, dtype)
        else:
            shift = n - 1 - int(mpmath.floor(mpmath.log(abs(c), 2)))
            part = float(mpmath.nint(c * mpf(2) ** shift) / mpf(2) ** shift)
        parts.append(part)
        c -= mpf(part)
    return parts


def _series(f: Callable[[Any], Any], limit: Any) -> Callable[[Any], Any]:
    """``f``, and its limit at arguments so small that the formula cancels (digits are plenty elsewhere)."""
    return lambda t: mpf(limit) if abs(t) < mpf(10) ** -12 else f(t)


def _relative(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda t: 1 / abs(f(t))


def _sqrt_series(f: Callable[[Any, Any], Any], limit: Any) -> Callable[[Any], Any]:
    """``f(t, sqrt(t))`` as a function of t; ``limit`` at 0."""
    return _series(lambda t: f(t, mpmath.sqrt(t)), limit)


#: What is said of the polynomial for float32 that is computed in float64.
_LOW = "the same for float32 in float64"


def fits() -> list[Fit]:
    """All polynomials."""
    mp.dps = DIGITS
    return [*_exponentials(), *_logarithms(), *_circular(), *_inverses(), *_error_functions(), *_gamma()]


def _exponentials() -> list[Fit]:
    half_ln2 = mpmath.log(2) / 2 * mpf("1.0001")
    exp = _series(lambda r: (mpmath.expm1(r) - r) / r**2, 0.5)
    ln2 = mpmath.log(2)
    exp2 = _series(lambda r: (mpf(2) ** r - 1 - ln2 * r) / r**2, ln2**2 / 2)
    sinh = _sqrt_series(lambda z, x: (mpmath.sinh(x) / x - 1) / z, mpf(1) / 6)
    sinh_weight = _sqrt_series(lambda z, x: z * x / mpmath.sinh(x), 0)

    def exp_weight(r: Any) -> Any:
        return r**2 / mpmath.exp(r)

    def exp2_weight(r: Any) -> Any:
        return r**2 / mpf(2) ** r

    return [
        Fit("EXP", "(exp(r) - 1 - r) / r**2", exp, -half_ln2, half_ln2, 9, exp_weight),
        Fit("EXP_F32", "the same", exp, -half_ln2, half_ln2, 4, exp_weight, "f4"),
        Fit("EXP_SHORT_F32", "the same, for erf", exp, -half_ln2, half_ln2, 3, exp_weight, "f4"),
        Fit("EXP2", "(2**f - 1 - f*ln2) / f**2", exp2, -0.5001, 0.5001, 9, exp2_weight),
        Fit("EXP2_F32", "the same", exp2, -0.5001, 0.5001, 4, exp2_weight, "f4"),
        Fit("EXP2_LOW", _LOW, exp2, -0.5001, 0.5001, 5, exp2_weight),
        Fit("SINH", "(sinh(x) / x - 1) / z, z = x**2", sinh, 0, 1.0001, 6, sinh_weight),
        Fit("SINH_F32", "the same", sinh, 0, 1.0001, 3, sinh_weight, "f4"),
    ]


def _logarithms() -> list[Fit]:
    atanh_limit = ((mpmath.sqrt(2) - 1) / (mpmath.sqrt(2) + 1)) ** 2 * mpf("1.0001")
    atanh = _sqrt_series(lambda z, s: 2 * (mpmath.atanh(s) / s - 1) / z, mpf(2) / 3)
    atanh_tail = _sqrt_series(lambda z, s: (mpmath.atanh(s) / s - 1 - z / 3) / z**2, mpf(1) / 5)
    log_lo, log_hi = mpmath.sqrt(0.5) - 1 - mpf("1e-4"), mpmath.sqrt(2) - 1 + mpf("1e-4")
    log = _series(lambda f: (mpmath.log1p(f) - f + f * f / 2) / f**3, mpf(1) / 3)

    def log_weight(f: Any) -> Any:
        return f**3 / mpmath.log1p(f) if f else mpf(0)

    return [
        Fit("ATANH", "2 * (atanh(s) / s - 1) / z, z = s**2", atanh, 0, atanh_limit, 6, lambda z: z / 2),
        Fit("ATANH_LOW", _LOW, atanh, 0, atanh_limit, 3, lambda z: z / 2),
        Fit("ATANH_TAIL", "(atanh(s) / s - 1 - z/3) / z**2, z = s**2", atanh_tail, 0, atanh_limit, 7, lambda z: z**2),
        Fit("ATANH_UNIT", "as ATANH, s to 1/3", atanh, 0, mpf("0.11112"), 9, lambda z: z / 2),
        Fit("ATANH_UNIT_F32", "the same", atanh, 0, mpf("0.11112"), 4, lambda z: z / 2, "f4"),
        Fit("LOG_F32", "(log(1 + f) - f + f**2 / 2) / f**3", log, log_lo, log_hi, 8, log_weight, "f4"),
    ]


def _circular() -> list[Fit]:
    sin = _sqrt_series(lambda z, r: (mpmath.sin(r) / r - 1) / z, -mpf(1) / 6)
    cos = _series(lambda z: (mpmath.cos(mpmath.sqrt(z)) - 1 + z / 2) / z**2, mpf(1) / 24)
    sin_weight = _sqrt_series(lambda z, r: z * r / mpmath.sin(r), 0)
    quarter = (mpmath.pi / 4 * mpf("1.0001")) ** 2
    half = (mpmath.pi / 2 * mpf("1.0001")) ** 2

    def cos_weight(z: Any) -> Any:
        return z**2 / mpmath.cos(mpmath.sqrt(z))

    return [
        Fit("SIN", "(sin(r) / r - 1) / z, z = r**2, to pi/4", sin, 0, quarter, 5, sin_weight),
        Fit("SIN_LOW", _LOW, sin, 0, quarter, 2, sin_weight),
        Fit("COS", "(cos(r) - 1 + z / 2) / z**2, z = r**2, to pi/4", cos, 0, quarter, 5, cos_weight),
        Fit("COS_LOW", _LOW, cos, 0, quarter, 2, cos_weight),
        Fit("SIN_HALF", "(sin(r) / r - 1) / z, z = r**2, to pi/2", sin, 0, half, 7, sin_weight),
    ]


def _inverses() -> list[Fit]:
    atan_limit = (mpmath.sqrt(2) - 1) ** 2 * mpf("1.001")
    atan = _sqrt_series(lambda z, t: (mpmath.atan(t) / t - 1) / z, -mpf(1) / 3)
    asin = _sqrt_series(lambda z, s: (mpmath.asin(s) / s - 1) / z, mpf(1) / 6)
    return [
        Fit("ATAN", "(atan(t) / t - 1) / z, z = t**2", atan, 0, atan_limit, 11, lambda z: z),
        Fit("ATAN_LOW", _LOW, atan, 0, atan_limit, 5, lambda z: z),
        Fit("ASIN", "(asin(s) / s - 1) / z, z = s**2", asin, 0, 0.25, 12, lambda z: z),
        Fit("ASIN_LOW", _LOW, asin, 0, 0.25, 6, lambda z: z),
        Fit("CBRT", "m**(-1/3)", lambda m: m ** (-mpf(1) / 3), 1, 2, 5, lambda m: mpmath.cbrt(m)),
    ]


def _error_functions() -> list[Fit]:
    erf = _sqrt_series(lambda z, x: mpmath.erf(x) / x - 1, 2 / mpmath.sqrt(mpmath.pi) - 1)

    def erf_tail(x: Any) -> Any:
        return -mpmath.log(mpmath.erfc(x))

    def erfc(t: Any) -> Any:
        x = 2 * (1 + t) / (1 - t)
        return mpmath.exp(x * x) * mpmath.erfc(x) * (x + 2)

    return [
        Fit("ERF", "erf(x) / x - 1, z = x**2", erf, 0, 1.0001, 11, lambda z: 1 / (1 + erf(z))),
        Fit("ERF_F32", "the same", erf, 0, 1.0001, 5, lambda z: 1 / (1 + erf(z)), "f4"),
        Fit("ERF_TAIL", "-log(erfc(x))", erf_tail, 0.999, _ERF_END[0], 17, mpmath.erfc),
        Fit("ERF_TAIL_F32", "the same", erf_tail, 0.999, _ERF_END[1], 6, mpmath.erfc, "f4"),
        Fit("ERFC", "erfcx(x) * (x + 2), t = (x - 2) / (x + 2)", erfc, -0.605, 0.867, 24, _relative(erfc), double=True),
        Fit("ERFC_LOW", _LOW, erfc, -0.605, 0.7, 11, _relative(erfc), double=True),
    ]


def _gamma() -> list[Fit]:
    gammaln = _series(lambda w: mpmath.loggamma(2 + w) / w, 1 - mpmath.euler)
    weight = _relative(gammaln)

    def stirling(z: Any) -> Any:
        if z < mpf(10) ** -6:
            return mpf(1) / 12 - z / 360 + z**2 / 1260 - z**3 / 1680 + z**4 / 1188
        x = 1 / mpmath.sqrt(z)
        head = (x - mpf(1) / 2) * mpmath.log(x) - x + mpmath.log(2 * mpmath.pi) / 2
        return (mpmath.loggamma(x) - head) * x

    return [
        Fit("GAMMALN", "gammaln(2 + w) / w", gammaln, -0.5001, 0.5001, 18, weight, double=True),
        Fit("GAMMALN_LOW", _LOW, gammaln, -0.5001, 0.5001, 9, weight, double=True),
        Fit("STIRLING", "what Stirling's formula lacks, times x, z = x**-2", stirling, 0, 1 / 72, 6, lambda z: 12),
        Fit("STIRLING_LOW", _LOW, stirling, 0, 1 / 72, 2, lambda z: 12),
    ]


#: From here on erf is 1, in float64 and in float32.
_ERF_END = (5.95, 3.95)


def _constants() -> list[tuple[str, str, list[float]]]:
    """Constants in parts, the first of which leave room for exact products with integers."""
    mp.dps = DIGITS
    ln2, pi = mpmath.log(2), +mpmath.pi
    return [
        ("LN2", "ln 2: times an integer below 2**21 the first part is exact", _split(ln2, [32, None])),
        ("LN2_F32", "ln 2: times an integer below 2**9 the first part is exact", _split(ln2, [15, None], "f4")),
        ("LN2_WHOLE", "ln 2", _split(ln2, [None, None])),
        ("LN2_WHOLE_F32", "ln 2", _split(ln2, [None, None], "f4")),
        ("TWO_OVER_LN2", "2 / ln 2", _split(2 / ln2, [None, None])),
        ("THIRD", "1 / 3", _split(mpf(1) / 3, [None, None])),
        ("INVERSE_LN2", "1 / ln 2", _split(1 / ln2, [None, None])),
        ("INVERSE_LN10", "1 / ln 10", _split(1 / mpmath.log(10), [None, None])),
        ("LOG10_2", "log10(2): as LN2", _split(mpmath.log10(2), [32, None])),
        ("QUARTER_PI", "pi / 4", _split(pi / 4, [None, None])),
        ("THREE_QUARTERS_PI", "3 * pi / 4", _split(3 * pi / 4, [None, None])),
        ("PI", "pi", _split(pi, [None, None])),
        ("HALF_PI", "pi / 2", _split(pi / 2, [None, None, None])),
    ]


def _text(name: str, what: str, values: Sequence[float], dtype: str = "f8") -> str:
    digits = [str(np.float32(v)) if dtype == "f4" else repr(v) for v in values]
    lines, line = [], "   "
    for d in digits:
        if len(line) + len(d) + 2 > 118:
            lines.append(line)
            line = "   "
        line += f" {d},"
    one = f"{name} = ({line.strip().rstrip(',')})"
    body = one if not lines and len(one) <= 118 else "\n".join([f"{name} = (", *lines, line, ")  # fmt: skip"])
    return f"#: {what}\n{body}\n"


_HEAD = '''"""Coefficients of the expansions, lowest degree first, and constants in parts.

Written by ``benchmarks/minimax.py``, which says how they are found. The errors are those of the result.
"""

'''


def main(argv: list[str] | None = None) -> None:
    """Find and print, or write, what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.minimax", description="find polynomials")
    parser.add_argument("names", nargs="*", metavar="NAME", help="polynomials (default: all)")
    parser.add_argument("--write", action="store_true", help=f"write {TARGET.name} instead of printing")
    args = parser.parse_args(argv)
    texts = [_text(name, what + ".", values) for name, what, values in _constants()]
    for p in fits():
        if args.names and p.name not in args.names:
            continue
        values, error = fit(p)
        interval = f"[{float(p.lo):.4g}, {float(p.hi):.4g}]"
        texts.append(_text(p.name, f"{p.what}, on {interval}; error 2**{error:.1f}.", values, p.dtype))
        if not args.write:
            print(texts[-1], flush=True)
    if args.write:
        TARGET.write_text(_HEAD + "\n".join(texts))


if __name__ == "__main__":
    main()
