"""n-body by hand: coordinates in arrays of their own. The tape is the positions at each step; forces are recomputed.

The derivative of the force between two bodies is a symmetric matrix, so the adjoint of a position is a sum over the
other bodies, as the force is.
"""

from __future__ import annotations

import numpy as np

from benchmarks.hand import compiled


@compiled
def _accelerations(x, m, a):
    """x, a: (3, n)."""
    X, Y, Z = x[0], x[1], x[2]  # "X, Y, Z = x" would not be vectorized
    for i in range(len(m)):
        xi, yi, zi = X[i], Y[i], Z[i]
        ax, ay, az = 0.0, 0.0, 0.0
        for j in range(len(m)):
            dx, dy, dz = X[j] - xi, Y[j] - yi, Z[j] - zi
            r2 = dx * dx + dy * dy + dz * dz + 0.01
            s = m[j] / (r2 * np.sqrt(r2))
            ax += s * dx
            ay += s * dy
            az += s * dz
        a[0, i], a[1, i], a[2, i] = ax, ay, az


@compiled
def _adjoint(x, m, ga, gx):
    """Add to gx the adjoint of x for the adjoint ga of the accelerations; all (3, n)."""
    X, Y, Z = x[0], x[1], x[2]  # "X, Y, Z = x" would not be vectorized
    GX, GY, GZ = ga[0], ga[1], ga[2]
    for i in range(len(m)):
        xi, yi, zi, mi = X[i], Y[i], Z[i], m[i]
        gxi, gyi, gzi = GX[i], GY[i], GZ[i]
        sx, sy, sz = 0.0, 0.0, 0.0
        for j in range(len(m)):
            dx, dy, dz = X[j] - xi, Y[j] - yi, Z[j] - zi
            r2 = dx * dx + dy * dy + dz * dz + 0.01
            inverse = 1.0 / np.sqrt(r2)
            s = inverse * inverse * inverse
            ux, uy, uz = mi * GX[j] - m[j] * gxi, mi * GY[j] - m[j] * gyi, mi * GZ[j] - m[j] * gzi
            along = 3.0 * inverse * inverse * (dx * ux + dy * uy + dz * uz)
            sx += s * (ux - along * dx)
            sy += s * (uy - along * dy)
            sz += s * (uz - along * dz)
        gx[0, i] += sx
        gx[1, i] += sy
        gx[2, i] += sz


@compiled
def value_and_grad(x0, v0, m, w, steps):
    """As ``corpus.simulations.nbody``."""
    n = len(m)
    dt = 0.01
    x = x0.T.copy()
    v = v0.T.copy()
    a = np.empty((3, n))
    tape = np.empty((steps + 1, 3, n))
    tape[0] = x
    _accelerations(x, m, a)
    for t in range(steps):
        for c in range(3):
            for i in range(n):
                v[c, i] += 0.5 * dt * a[c, i]
                x[c, i] += dt * v[c, i]
        tape[t + 1] = x
        _accelerations(x, m, a)
        for c in range(3):
            for i in range(n):
                v[c, i] += 0.5 * dt * a[c, i]
    gx = w.T.copy()
    gv = gx.copy()
    value = np.sum(gx * x) + np.sum(gx * v)

    # Two half kicks with the same acceleration meet at each inner time.
    ga = 0.5 * dt * gv
    for t in range(steps - 1, -1, -1):
        _adjoint(tape[t + 1], m, ga, gx)
        for c in range(3):
            for i in range(n):
                gv[c, i] += dt * gx[c, i]
                ga[c, i] = (0.5 if t == 0 else 1.0) * dt * gv[c, i]
    _adjoint(tape[0], m, ga, gx)
    return value, (gx.T.copy(), gv.T.copy())
