"""``corpus.simulations`` for JAX: what is independent is vectorized, time is a loop."""

# pyright: reportMissingImports=false
from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax


@jax.checkpoint  # recomputed in reverse: the matrices of all pairs at all times would be slower to store and read
def accelerations(x, m):
    """All pairs at once, a coordinate at a time."""
    dx, dy, dz = (x[None, :, k] - x[:, None, k] for k in range(3))
    r2 = dx * dx + dy * dy + dz * dz + 0.01
    s = m / (r2 * jnp.sqrt(r2))
    return jnp.stack([jnp.sum(s * dx, axis=1), jnp.sum(s * dy, axis=1), jnp.sum(s * dz, axis=1)], axis=1)


def nbody(x0, v0, m, w, steps):
    """Leapfrog; all pairs at once."""
    dt = 0.01

    def step(_t, carry):
        x, v, a = carry
        v = v + 0.5 * dt * a
        x = x + dt * v
        a = accelerations(x, m)
        return x, v + 0.5 * dt * a, a

    x, v, _ = lax.fori_loop(0, steps, step, (x0, v0, accelerations(x0, m)))
    return jnp.sum(w * x) + jnp.sum(w * v)


def nbody_rows(x0, v0, m, w, steps):
    """Drift, kick, drift; all pairs at once."""
    dt = 0.01

    def step(_t, carry):
        x, v = carry
        x = x + 0.5 * dt * v
        v = v + dt * accelerations(x, m)
        return x + 0.5 * dt * v, v

    x, v = lax.fori_loop(0, steps, step, (x0, v0))
    return jnp.sum(w * x) + jnp.sum(w * v)


def lorenz96(x):
    """Lorenz's 1996 model of a ring of n variables."""
    return (jnp.roll(x, -1) - jnp.roll(x, 2)) * jnp.roll(x, 1) - x + 8.0


def rk4(x0, w, steps):
    """The same as in NumPy, as a ``fori_loop``."""
    h = 0.002

    def step(_t, x):
        k1 = lorenz96(x)
        k2 = lorenz96(x + 0.5 * h * k1)
        k3 = lorenz96(x + 0.5 * h * k2)
        k4 = lorenz96(x + h * k3)
        return x + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)

    return jnp.sum(w * lax.fori_loop(0, steps, step, x0))


def lotka_volterra(rates, start, data):
    """A scan over the data, a loop of ten steps inside."""
    a, b, c, d = rates

    def euler(_t, state):
        prey, predators = state
        growth = (a - b * predators) * prey
        decline = (c * prey - d) * predators
        return prey + 0.01 * growth, predators + 0.01 * decline

    def datum(state, row):
        prey, predators = lax.fori_loop(0, 10, euler, state)
        return (prey, predators), (prey - row[0]) ** 2 + (predators - row[1]) ** 2

    _, losses = lax.scan(datum, (start[0], start[1]), data)
    return jnp.mean(losses)


def horner(c, x):
    """A scan over the coefficients."""
    y, _ = lax.scan(lambda y, ck: (y * x + ck, None), jnp.zeros_like(x), c, reverse=True)
    return jnp.sum(y * y)


horner_loops = horner


def asian_option(s0, rate, volatility, z):
    """A scan over time, all paths at once."""
    steps, paths = z.shape
    dt = 1.0 / steps

    def step(carry, row):
        s, total = carry
        s = s * jnp.exp((rate - 0.5 * volatility**2) * dt + volatility * jnp.sqrt(dt) * row)
        return (s, total + s), None

    (_, total), _ = lax.scan(step, (jnp.full(paths, s0), jnp.zeros(paths)), z)
    return jnp.exp(-rate) * jnp.mean(jnp.maximum(total / steps - 100.0, 0.0))


def ray_march(centre, radius, light, width):
    """All rays at once, for as many steps as any may need; rays that have arrived are masked."""
    ticks = (jnp.arange(width) + 0.5) / width - 0.5
    x, y = jnp.meshgrid(ticks, ticks)
    length = jnp.sqrt(x * x + y * y + 1.0)
    x, y, z = x / length, y / length, 1.0 / length

    def position(t):
        return t * x - centre[0], t * y - centre[1], t * z - centre[2]

    def march(_k, t):
        px, py, pz = position(t)
        distance = jnp.sqrt(px * px + py * py + pz * pz) - radius
        done = (distance < 1e-8) | (t > 10.0)
        return jnp.where(done, t, t + distance)

    t = lax.fori_loop(0, 59, march, jnp.zeros((width, width)))
    px, py, pz = position(t)
    t = march(59, t)
    shade = jnp.maximum((px * light[0] + py * light[1] + pz * light[2]) / radius, 0.0)
    return jnp.sum(jnp.where(t < 10.0, shade, 0.0)) / width**2
