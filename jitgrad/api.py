"""The public transformations.

Each of ``jit``, ``grad``, ``value_and_grad``, ``jacobian``, ``hessian`` and ``vmap`` works as a decorator, as a
decorator with arguments, and as a function::

    @jg.grad
    def loss(w, x): ...

    @jg.grad(argnums=(0, 1))
    def loss(w, b, x): ...

    gradient = jg.grad(loss, argnums=1)

They compose in any order, and may be called inside each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jitgrad.compiler import Compiled, compile_graph
from jitgrad.errors import ArgumentError
from jitgrad.frontend.options import Options
from jitgrad.frontend.primitives import emit
from jitgrad.frontend.signature import flatten, unflatten
from jitgrad.frontend.tracer import Tracer
from jitgrad.ir.core import Graph
from jitgrad.ir.location import user_location
from jitgrad.jacobians import Jacobian
from jitgrad.mapping import mapped
from jitgrad.pullbacks import Pullback, jvp_function, vjp_function
from jitgrad.transformed import BoundTransformed, Transformed
from jitgrad.transforms import Grad, Jit

Function = Callable[..., Any]


def jit(
    fun: Function | None = None,
    *,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
    loops: str = "auto",
    memory_budget: int | None = None,
    target: str | None = None,
) -> Any:
    """Compile a function to native code.

    The function is traced once for each combination of the structure, dtypes and shapes of its arguments, and then
    runs as one native program. Arguments are arrays, numbers, or trees of them. Integers and bools that decide what
    the program is (the extent of a result, an axis, a flag) are found, and each new value of these compiles anew.
    ``static_argnums`` and ``static_argnames`` name further arguments that are Python values at trace time (a string, a
    function): they must be hashable, and each new value compiles anew. Results are fresh arrays; scalars are NumPy
    scalars.

    Global and closure variables, and attributes of objects, that the function reads are constants of the program.
    They are compared at each call, and a change compiles anew; ``explain()`` lists them. That costs a pass over the
    data of writable arrays, so big or changing data is better passed as an argument.

    Python loops over traced ranges and conditions become loops of the program. Those of a known length are unrolled up
    to ``config.unroll_limit`` iterations, and longer ones become loops if their body allows it; ``loops="unroll"``
    unrolls all of them, ``loops="roll"`` none (and raises an error where that can't be done). ``memory_budget`` is the
    number of bytes that gradients inside may use for values saved in loops; beyond it loops save less, and run parts
    again. Arguments that the function assigns into change, as in NumPy. All of that is listed by ``explain()``.

    ``target`` is where the program runs: ``"cpu"``, or ``"cuda"`` for an NVIDIA GPU; None is ``config.target``. On a
    GPU, arguments are NumPy arrays (copied there), arrays that are there already (``jg.device_put``; those of CuPy,
    torch and JAX too), or numbers; results are :class:`jitgrad.DeviceArray`, and a call returns before they are there.

    >>> @jg.jit
    ... def f(x):
    ...     return np.sum(np.tanh(x) ** 2)
    """
    numbers = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)
    names = (static_argnames,) if isinstance(static_argnames, str) else tuple(static_argnames)
    if fun is None:
        options = {"loops": loops, "memory_budget": memory_budget, "target": target}
        return lambda f: jit(f, static_argnums=numbers, static_argnames=names, **options)
    options = Options(loops, memory_budget).check()
    transform = Jit(None if options == Options() else options)
    return Transformed(_callable(fun, "jit"), transform, numbers, names, target=_target(target))


def grad(
    fun: Function | None = None,
    argnums: int | Sequence[int] = 0,
    *,
    has_aux: bool = False,
    target: str | None = None,
) -> Any:
    """The gradient of a function that returns one float scalar.

    ``argnums`` says with respect to which positional arguments; a tuple gives a tuple of gradients. A gradient has
    the structure and the dtypes of its argument. With ``has_aux``, the function returns ``(loss, aux)``, and its
    gradient function ``(gradient, aux)``. ``target`` as in :func:`jit`.

    Raises DifferentiationError, when called, for a result that is no float scalar, and for arguments to
    differentiate that hold integers or bools.

    >>> jg.grad(np.sin)(0.0)
    np.float64(1.0)
    """
    if fun is None:
        return lambda f: grad(f, argnums, has_aux=has_aux, target=target)
    return _gradient(fun, argnums, has_aux=has_aux, with_value=False, target=target)


def value_and_grad(
    fun: Function | None = None,
    argnums: int | Sequence[int] = 0,
    *,
    has_aux: bool = False,
    target: str | None = None,
) -> Any:
    """As :func:`grad`, but the function returned gives ``(value, gradient)``, from one native program.

    With ``has_aux`` it gives ``((value, aux), gradient)``.
    """
    if fun is None:
        return lambda f: value_and_grad(f, argnums, has_aux=has_aux, target=target)
    return _gradient(fun, argnums, has_aux=has_aux, with_value=True, target=target)


def _gradient(
    fun: Function, argnums: int | Sequence[int], *, has_aux: bool, with_value: bool, target: str | None
) -> Transformed:
    numbers, single = _argnums(argnums)
    transform = Grad(numbers, single=single, has_aux=has_aux, with_value=with_value)
    return Transformed(_callable(fun, transform.name), transform, target=_target(target))


def vmap(fun: Function | None = None, in_axes: Any = 0, out_axes: Any = 0, *, target: str | None = None) -> Any:
    """A function of one example as a function of many at once, compiled.

    ``in_axes`` says along which axis of each positional argument the examples lie: one integer for all, or a tuple with
    an entry for each; None is for an argument that all examples share. An entry may be a tree in the structure of its
    argument. Arguments by keyword are mapped over axis 0. ``out_axes`` says the same of the result. Each example gets
    copies, so the function may write into its arguments. ``target`` as in :func:`jit`.

    Raises ArgumentError for axes that do not fit the arguments, ShapeError for arguments of different lengths or none.
    Source: ``jax.vmap``.

    >>> per_example = jg.vmap(jg.grad(loss), in_axes=(None, 0, 0))
    """
    if fun is None:
        return lambda f: vmap(f, in_axes, out_axes, target=target)
    return jit(mapped(_callable(fun, "vmap"), in_axes, out_axes), target=target)


def vjp(fun: Function, *primals: Any) -> tuple[Any, Pullback]:
    """``(out, vjp_fun)``: the value at ``primals``, and the function from a cotangent of ``out`` (a tree of the same
    structure) to the tuple of cotangents of the primals.

    The primals must be float. What the pullback needs is kept in it; it can be called any number of times.
    """
    return vjp_function(_callable(fun, "vjp")).at(primals)


def jvp(fun: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """``(out, tangents_out)``: the value at ``primals`` and its derivative along ``tangents``.

    Both are tuples with one entry an argument; a tangent has the structure and shapes of its primal, which must be
    float. The tangent of a result that is not float is zero.
    """
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise ArgumentError(
            "jvp takes a tuple of primals and a tuple of tangents, one entry an argument of the function. "
            f"It was given a {type(primals).__name__} and a {type(tangents).__name__}. Write jvp(f, (x,), (t,)).",
            user_location(),
        )
    if len(primals) != len(tangents):
        raise ArgumentError(
            f"jvp was given {len(primals)} primals and {len(tangents)} tangents. Each argument needs its tangent. "
            "Give zeros for those that are held fixed.",
            user_location(),
        )
    return jvp_function(_callable(fun, "jvp")).at(tuple(primals), {}, tuple(tangents))


def jacobian(fun: Function | None = None, argnums: int | Sequence[int] = 0) -> Any:
    """The Jacobian: arrays of shape ``(output shape..., input shape...)``.

    For trees: the structure of the output, with the structure of the argument at each of its arrays.
    """
    if fun is None:
        return lambda f: jacobian(f, argnums)
    numbers, single = _argnums(argnums)
    return Jacobian(_callable(fun, "jacobian"), numbers, single=single)


def hessian(fun: Function | None = None, argnums: int | Sequence[int] = 0) -> Any:
    """The matrix of second derivatives of a scalar function: the Jacobian (forward mode) of its gradient."""
    if fun is None:
        return lambda f: hessian(f, argnums)
    return jacobian(grad(fun, argnums), argnums)


def stop_gradient(tree: Any) -> Any:
    """The same values, held constant under differentiation. A tree of arrays gives a tree; plain values come back."""
    leaves, spec = flatten(tree)
    return unflatten(spec, [emit("stop_gradient", x) if isinstance(x, Tracer) else x for x in leaves])


def trace(fun: Function, *args: Any, **kwargs: Any) -> Graph:
    """The graph of a function for arguments of these structures, dtypes and shapes. Nothing is compiled or computed.

    Parameters and results of the graph are the leaves of the arguments and of the result, in order.
    """
    if isinstance(fun, Transformed) and isinstance(fun._transform, Jit):
        return fun.traced_graph(*args, **kwargs)
    return Transformed(_callable(fun, "trace"), Jit()).traced_graph(*args, **kwargs)


def compile(graph: Graph) -> Compiled:
    """Compile a graph, traced or built by hand: a callable from one array a parameter to a tuple of arrays."""
    if not isinstance(graph, Graph):
        raise ArgumentError(
            f"compile takes a Graph, not a {type(graph).__name__}. Functions are compiled by jg.jit. "
            "Use jg.trace(fun, *args) to get the graph of a function.",
            user_location(),
        )
    return compile_graph(graph)


def _argnums(argnums: int | Sequence[int]) -> tuple[tuple[int, ...], bool]:
    """The numbers as a tuple, and whether there was just a number."""
    single = isinstance(argnums, int) and not isinstance(argnums, bool)
    numbers = (argnums,) if single else argnums
    if not isinstance(numbers, (tuple, list)) or not all(isinstance(k, int) for k in numbers) or not numbers:
        raise ArgumentError(
            f"argnums is {argnums!r}. It says which positional arguments to differentiate. "
            "Give an integer, or a tuple of integers that is not empty.",
            user_location(),
        )
    return tuple(numbers), single  # pyright: ignore[reportReturnType]


def _target(target: str | None) -> str | None:
    if target in (None, "cpu", "cuda"):
        return target
    raise ArgumentError(
        f"target is {target!r}. It says where programs run. Give 'cpu' or 'cuda', or None for that of the settings.",
        user_location(),
    )


def _callable(fun: Any, what: str) -> Function:
    if callable(fun) or isinstance(fun, BoundTransformed):
        return fun
    raise ArgumentError(
        f"{what} takes a function, not an object of type {type(fun).__name__}. As a decorator with arguments it is "
        f"written @jg.{what}(argnums=...), with the names of the arguments. Pass a function first.",
        user_location(),
    )
