"""Random programs of linear algebra on square matrices, or stacks of them, as source text.

Each line takes the matrices of earlier ones to another; the last one makes a number of it. Nothing depends on the
signs of vectors, nor on how those of equal values are turned.
"""

from __future__ import annotations

import random
import re
from typing import Any

import numpy as np
import scipy.linalg
from random_sources import make
from random_statements import templates

#: In templates ``X`` and ``Y`` are matrices; those on the first list take stacks too.
OF_STACKS = """
S(X)|X @ T(X)|X @ Y|np.linalg.inv(S(X))|np.linalg.pinv(X)|np.linalg.svd(X)[1][..., None] * X
np.linalg.qr(X + 3 * J(X))[1]|np.linalg.qr(X)[0]|np.linalg.cholesky(S(X))|np.linalg.solve(S(X), Y)|np.sin(X)|T(X)|X - Y
F(np.linalg.svd(X + Y))|np.linalg.eigh(S(X))[0][..., None] * Y|G(np.linalg.eigh(X + T(X)), Y)
"""
OF_ONE = """
sl.expm(0.3 * X)|sl.lu(X + 4 * J(X))[2]|sl.lu(X + 4 * J(X))[1]|np.linalg.lstsq(X, Y, rcond=None)[0]|sl.polar(X)[1]
sl.solve_banded((1, 1), np.stack([X[0], Y[0] + 5.0, X[-1]]), Y)|sl.pinvh(S(X), rtol=1e-12)
sl.solve_toeplitz(X[0] + 4 * J(X)[0], Y)|sl.lu_solve(sl.lu_factor(X + 4 * J(X)), Y)
"""
NUMBERS_OF_STACKS = """
np.sum(0.5 * np.linalg.svd(X, compute_uv=False) ** 2 + np.linalg.svd(X, compute_uv=False))|np.linalg.det(0.5 * X).sum()
np.linalg.slogdet(S(X))[1].sum()|np.linalg.cond(X + 3 * J(X)).sum()|np.sum(np.linalg.eigvalsh(S(X)) ** 1.5)
np.sum(np.cos(X))|np.trace(X, axis1=-2, axis2=-1).sum()|np.linalg.matrix_norm(X, ord="nuc").sum()
np.linalg.matrix_norm(X, ord=2).sum()
"""
NUMBERS_OF_ONE = "np.linalg.norm(X)|np.linalg.norm(X, 'nuc')|np.linalg.norm(X, 2)|sl.norm(X, 'fro')"
BEFORE = """
def T(x):
    return np.swapaxes(x, -1, -2)

def J(x):
    return np.eye(x.shape[-1], dtype=x.dtype)

def S(x):
    return x @ T(x) + J(x)

def F(svd):
    u, s, vh = svd
    return (u * np.sin(s)[..., None, :]) @ vh

def G(eigh, y):
    w, v = eigh
    return (v * np.tanh(w)[..., None, :]) @ T(v) @ y

def f(a, b):
"""


class MatrixGenerator:
    """``text`` is the source of a function ``f(a, b)``, ``args`` are arguments for it."""

    def __init__(self, seed: int) -> None:
        draw = random.Random(seed)
        order = draw.choice((1, 2, 3, 5))
        stack = draw.choice(((), (), (), (2,), (2, 1)))
        names, lines = ["a", "b"], []
        matrices, numbers = templates(OF_STACKS), templates(NUMBERS_OF_STACKS)
        if not stack:
            matrices, numbers = matrices + templates(OF_ONE), numbers + templates(NUMBERS_OF_ONE)
        for k in range(draw.randint(1, 3)):
            x = names[-1] if draw.random() < 0.7 else draw.choice(names)
            lines.append(f"    t{k} = {_filled(draw.choice(matrices), x, draw.choice(names))}")
            names.append(f"t{k}")
        lines.append(f"    return {_filled(draw.choice(numbers), names[-1], names[0])}")
        self.text = BEFORE + "\n".join(lines) + "\n"
        rng = np.random.default_rng(seed)
        self.args: list[Any] = [rng.normal(size=(*stack, order, order)) for _ in range(2)]

    def function(self) -> Any:
        return make(self.text, others={"sl": scipy.linalg})


def _filled(template: str, x: str, y: str) -> str:
    return re.sub(r"\bX\b", x, re.sub(r"\bY\b", y, template))
