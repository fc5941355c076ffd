"""Programs with parallel loops in a process of their own, on the threading layer and with the threads that the
environment says: right results, the same to the last bit whatever the number of threads; many Python threads at once;
forked children. Prints the name of the layer, and "unavailable" where there is no such layer."""

from __future__ import annotations

import functools
import multiprocessing

import numba
import numpy as np
from numba.np.ufunc import parallel as layer

import jitgrad as jg
from jitgrad import compiler
from jitgrad.codegen import threads as codegen
from jitgrad.errors import CompilationError
from jitgrad.loopir.schedule import schedule
from jitgrad.runtime import threads
from tests.threads import check_calls

X = np.random.default_rng(0).normal(size=(70, 30))


@jg.jit
def elementwise(x):
    return np.exp(x) * np.sin(x)


@jg.value_and_grad
def loss(x):
    e = np.exp(x - np.max(x, axis=1, keepdims=True))
    p = e / np.sum(e, axis=1, keepdims=True)
    return np.sum(np.log1p(p) * x) + np.sum(np.tanh(np.sum(x, axis=0)))


@jg.value_and_grad
def sweeps(u):
    for _ in range(20):
        v = u.copy()
        v[1:-1, 1:-1] = 0.25 * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:])
        u = np.tanh(v)
    return np.sum(u * u)


def leaves(found):
    return list(found) if isinstance(found, tuple) else [found]


def equal(found, wanted):
    assert all(map(np.array_equal, leaves(found), leaves(wanted))), "bits depend on threads"


def child(queue):
    """In a forked process: no thread of the layer lives here."""
    queue.put([leaves(f(X)) for f in (elementwise, loss, sweeps)])


def check_fork(wanted) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    found = queue.get(timeout=60)
    process.join(60)
    assert process.exitcode == 0, process.exitcode
    for got, want in zip(found, wanted, strict=True):
        equal(tuple(got), tuple(leaves(want)))


def check_no_launch(wanted, **control: int) -> None:
    """Loops run serially with the state of launches as given."""
    before = codegen.control.launches
    for name, value in control.items():
        setattr(codegen.control, name, value)
    equal(loss(X), wanted)
    assert codegen.control.launches == before
    codegen.control.busy = codegen.control.rest = 0


def check_numbas_own_setting(wanted) -> None:
    """A launch leaves the number of threads of Numba's own parallel loops alone."""
    numba.set_num_threads(1)
    before = codegen.control.launches
    equal(loss(X), wanted)
    assert codegen.control.launches > before and numba.get_num_threads() == 1


def main() -> None:
    assert np.all(elementwise(np.zeros((2, 2))) == 0.0)
    assert not layer._is_initialized, "a program without parallel loops has started threads"
    compiler.schedule = functools.partial(schedule, least=1)
    try:
        threads.start()
    except CompilationError as error:
        assert "NUMBA_THREADING_LAYER" in str(error)
        print("unavailable")
        return
    codegen.control.least = 1
    start = codegen.REST[0]
    programs, most = (elementwise, loss, sweeps), jg.get_num_threads()
    jg.set_num_threads(1)
    wanted = [f(X) for f in programs]
    codegen.control.least = 1  # compiling has set what the layer costs
    assert codegen.control.launches == 0
    for n in (most, 2, 1, 3):
        jg.set_num_threads(n)
        for f, want in zip(programs, wanted, strict=True):
            codegen.control.rest, codegen.control.factor = 0, start
            before = codegen.control.launches
            equal(f(X), want)
            assert (codegen.control.launches > before) == (n > 1), (n, f)
    jg.set_num_threads(most)
    check_no_launch(wanted[1], busy=1)
    check_no_launch(wanted[1], rest=1 << 62)
    check_numbas_own_setting(wanted[1])
    check_calls([(f, [((X,), want)]) for f, want in zip(programs, wanted, strict=True)], equal, calls=30)
    if "fork" in multiprocessing.get_all_start_methods():
        check_fork(wanted)
    equal(loss(X), wanted[1])  # and the parent goes on
    print(numba.threading_layer())


if __name__ == "__main__":
    main()
