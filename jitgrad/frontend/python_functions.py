"""Python's own functions and classes as plain scalar code uses them, for traced values: ``max``, ``sorted``, ``int``,
``isinstance``, the operator ``in``. With untraced arguments each is Python's own.
"""

from __future__ import annotations

import builtins
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from jitgrad.errors import ConcretizationError, JitgradError, RollError, UnsupportedError
from jitgrad.frontend import attributes, complex_python, iteration, iterators, list_methods, users_protocols
from jitgrad.frontend.chosen_containers import note_chosen
from jitgrad.frontend.complex_pair import Pair
from jitgrad.frontend.consumable import Generated, consumable
from jitgrad.frontend.fixed import hash_, id_, refuse_search, vars_
from jitgrad.frontend.indexing import length
from jitgrad.frontend.items import as_array, elements
from jitgrad.frontend.iteration import Steps, bound_value, steps_of
from jitgrad.frontend.keyed import members, of_keys
from jitgrad.frontend.namespace import wrap
from jitgrad.frontend.primitives import cast, promote, where
from jitgrad.frontend.recording import attempt
from jitgrad.frontend.references import forget_frames
from jitgrad.frontend.registry import HOOKS, call
from jitgrad.frontend.signature import flatten, unflatten
from jitgrad.frontend.tracer import Collection, Tracer, has_traced, innermost_trace, is_traced
from jitgrad.frontend.tuple_keys import columns_of, places
from jitgrad.frontend.users_operators import absolute, binary, method
from jitgrad.frontend.users_protocols import iterated
from jitgrad.ir.index import IndexExpr
from jitgrad.ir.location import user_location
from jitgrad.ir.types import DTYPES, kind_letter

#: Fewer elements are added up one by one.
_FEW = 8
#: What a Python number is traced as.
_DTYPES = {"float": np.float64, "int": np.int64, "bool": np.bool_}
_WEAK = {"f": "float", "i": "int", "u": "int", "b": "bool"}


def python_number(x: Tracer, kind: str, function: str) -> Tracer:
    """A traced scalar as the Python ``float``, ``int`` or ``bool`` of that value, for a function of that name.

    Raises ConcretizationError (a TypeError) for arrays with axes.
    """
    if x.dims:
        raise ConcretizationError(
            f"{function} of an array of shape {x.shape}. Only 0-dimensional arrays can be converted to Python numbers. "
            f"Take one element, or use the function of NumPy that works element by element.",
            user_location(),
        )
    if kind == "bool" and x.dtype.kind != "b":
        x = HOOKS["operator"](np.not_equal, x, 0)
    return Tracer(x.owner, cast(x, _DTYPES[kind]).value, kind)


def item(x: Tracer, *index: Any) -> Tracer:
    """``ndarray.item``."""
    if len(index) == 1 and not isinstance(index[0], tuple):
        x = x.reshape(-1)[index[0]]
    elif index:
        x = x[index[0] if len(index) == 1 else index]
    elif x.dims:
        if x.count != 1:
            raise ConcretizationError(
                f"item() of an array of shape {x.shape}. Only an array of one element is one number. Give its index.",
                user_location(),
            )
        x = x.reshape(())
    return python_number(x, _WEAK[kind_letter(x.dtype)], "item()")


def tolist(x: Tracer) -> Any:
    """``ndarray.tolist``: lists of Python numbers."""
    return [tolist(row) for row in x] if x.dims else item(x)


HOOKS["item"], HOOKS["tolist"], HOOKS["python_number"] = item, tolist, python_number
HOOKS["sorted_places"] = lambda items, key, reverse: _sorted_places(items, key, reverse)


# -- classes -----------------------------------------------------------------------------------------------------------


def class_of(x: Any) -> type:
    """What ``type(x)`` is in plain Python."""
    if issubclass(type(x), Pair):
        return complex_python.class_of(x)
    if not issubclass(type(x), Tracer):
        return type(x)
    if x.weak:
        return {"float": float, "int": int, "bool": bool}[x.weak]
    return np.ndarray if x.dims or x.boxed else x.dtype.type


def _isinstance(obj: Any, classes: Any, /) -> bool:
    return issubclass(class_of(obj), classes) if issubclass(type(obj), (Tracer, Pair)) else isinstance(obj, classes)


def _type(*args: Any, **kwargs: Any) -> Any:
    return class_of(args[0]) if len(args) == 1 and not kwargs else type(*args, **kwargs)


def _conversion(cls: type) -> Callable[..., Any]:
    def convert(*args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs:
            (x,) = args
            args = (users_protocols.truth(x) if cls is bool else users_protocols.number(x, cls.__name__),)
        if len(args) != 1 or kwargs or not is_traced(args[0]):
            return cls(*args, **kwargs)
        return python_number(args[0], cls.__name__, f"{cls.__name__}()")

    return convert


def _container(cls: type) -> Callable[..., Any]:
    def convert(*args: Any, **kwargs: Any) -> Any:
        args = tuple(map(iterated, args))
        if cls is list and len(args) == 1 and not kwargs:
            if isinstance(args[0], Collection):
                return args[0].copy()  # pyright: ignore[reportAttributeAccessIssue]
            found = _gathered(args[0])
            return found if found is not args[0] else list(found)
        return cls(*args, **kwargs)

    return convert


def _gathered(iterable: Any) -> Any:
    """The list of what a generator yields that a loop can consume; anything else as it is."""
    return iterable if not consumable(iterable) else HOOKS["gathered"](iterable, lambda item: item)


def _scalar_type(cls: type) -> Callable[..., Any]:
    """``np.float32(x)``: a NumPy scalar, or an array."""

    def convert(*args: Any, **kwargs: Any) -> Any:
        if len(args) != 1 or kwargs or not has_traced(args[0]):
            return cls(*args, **kwargs)
        (x,) = args
        x = (x if isinstance(x, Tracer) else innermost_trace(x).lift(x)).astype(cls)
        x.boxed = False
        return x

    return convert


def _new_array(shape: Any, dtype: Any = float, buffer: Any = None, *args: Any, **kwargs: Any) -> Any:
    """``np.ndarray(shape, dtype)``: an array that holds anything."""
    if buffer is not None or args or any(k != "order" for k in kwargs):
        return np.ndarray(shape, dtype, buffer, *args, **kwargs)
    return wrap(np.empty)(shape, dtype, kwargs.get("order") or "C")


#: What to call in the place of a class.
CLASSES: dict[type, Callable[..., Any]] = {
    **{cls: _conversion(cls) for cls in (float, int, bool)},
    **{cls: _container(cls) for cls in (list, tuple, set, frozenset)},
    **{dtype.type: _scalar_type(dtype.type) for dtype in DTYPES.values()},
    np.ndarray: _new_array,
    type: _type,
    **iteration.CLASSES,
    **iterators.CLASSES,
    **complex_python.CLASSES,
}


def class_call(cls: type) -> Callable[..., Any] | None:
    """What to call in the place of a class; None for most. That of bfloat16 is known when it is first called."""
    found = CLASSES.get(cls)
    if found is None and cls.__name__ == "bfloat16" and issubclass(cls, np.generic):
        found = CLASSES[cls] = _scalar_type(cls)
    return found


# -- comparisons -------------------------------------------------------------------------------------------------------


def contains(x: Any, container: Any) -> Any:
    """``x in container``."""
    found = users_protocols.contains(x, container)
    if found is not None:
        return found
    items = iterated(container)
    if items is not container:
        container = list(items)
    if isinstance(container, Collection):
        hits = list_methods.equal(container, x)  # pyright: ignore[reportArgumentType]
        return False if hits is None else np.any(hits)
    refuse_search(x, container)
    if isinstance(container, Steps):
        return _in_range(x, bound_value(container.lo), bound_value(container.hi), container.step)
    if isinstance(container, (Tracer, np.ndarray)):
        return np.any(container == x) if has_traced((x, container)) else x in container
    if isinstance(container, range) and is_traced(x):
        return _in_range(x, container.start, container.stop, container.step)
    if not isinstance(container, Iterable) or isinstance(container, (str, bytes, Iterator)):
        return x in container
    if not is_traced(x) and not has_traced(list(container)):
        return x in container
    found: Any = False
    for y in container:
        if y is x:
            return True
        if not isinstance(y, (Tracer, bool, int, float, np.generic, np.ndarray)):
            continue
        for v in (x, y):
            if np.ndim(v):
                raise ConcretizationError(
                    f"'in' compares arrays, one of shape {np.shape(v)}. The truth value of an array with more than one "
                    "element is ambiguous. Use np.any(container == x) or np.isin.",
                    user_location(),
                )
        found = np.logical_or(found, x == y)
    return Tracer(found.owner, found.value, "bool") if isinstance(found, Tracer) else bool(found)


def _in_range(x: Any, start: Any, stop: Any, step: int) -> Any:
    inside = np.logical_and(x >= start, x < stop) if step > 0 else np.logical_and(x <= start, x > stop)
    found = np.logical_and(inside, (x - start) % step == 0)
    return Tracer(found.owner, found.value, "bool") if isinstance(found, Tracer) else bool(found)


def _extreme(function: Callable[..., Any], compare: np.ufunc, of_array: Any, of_key: Any) -> Callable[..., Any]:
    def place_of(keys: Any) -> Any:
        """Where the first one of the extreme keys is."""
        if (columns := columns_of(keys)) is not None:
            return places(columns, reverse=function is builtins.max)[0]
        return call(of_key, (keys.array() if isinstance(keys, Collection) else keys,), {})

    def first_of(many: Tracer, start: Any) -> Any:
        """The extreme one of many elements as Python finds it: a NaN behind the first one is never it."""
        many = where(HOOKS["operator"](np.not_equal, many, many), many.owner.lift(start), many)
        found = many[call(of_key, (many,), {})]
        return Tracer(found.owner, found.value, start.weak if isinstance(start, Tracer) else None)

    @functools.wraps(function)
    def routed(*args: Any, **kwargs: Any) -> Any:
        name, key = function.__name__, of_keys(kwargs.get("key"))
        args = (members(args[0]),) if key is None and len(args) == 1 else args
        args = (_gathered(iterated(args[0])),) if len(args) == 1 else args
        if len(args) != 1:
            items = list(args)
        elif isinstance(args[0], Collection) and not kwargs.keys() - {"key", "default"}:
            given = args[0]
            if key is None and columns_of(given) is None:
                return _or_default(given, lambda: call(of_array, (given.array(),), {}), kwargs)
            keys = given if key is None else _keys(given, key)
            return _or_default(keys, lambda: given[python_number(place_of(keys), "int", name)], kwargs)
        elif key is not None and isinstance(steps := args[0], Steps) and not isinstance(steps.count, int):
            keys = _keys(steps, key)
            return _or_default(keys, lambda: steps.at(python_number(place_of(keys), "int", name)), kwargs)
        elif key is not None and "default" not in kwargs and (steps := _many(args[0])) is not None:
            keys = _keys(args[0], key)
            keys = keys if columns_of(keys) is not None else as_array(HOOKS["current_trace"](), keys)
            if keys is not None and (not isinstance(keys, Tracer) or keys.ndim == 1):
                return steps.at(python_number(place_of(keys), "int", name))
            items = [steps.at(k) for k in range(len(steps))]
        elif isinstance(args[0], Tracer) and args[0].ndim == 1 and key is None:
            return call(of_array, args, {})
        else:
            (given,) = args
            items = given if isinstance(given, np.ndarray) else list(given)
            long = key is None and len(items) > _FEW and has_traced(items)
            if long and (many := as_array(innermost_trace(*items), items)) is not None and many.ndim == 1:
                return first_of(many, items[0])
        keys = items if key is None else list(map(HOOKS["callee"](key), items))
        traced = has_traced(keys) or (len(items) > 0 and _of_users(keys[0]))
        if not len(items) or set(kwargs) - {"key", "default"} or not traced:
            args = args if len(args) != 1 else (items,)
            return function(*args, **kwargs)
        if _of_users(keys[0]):
            return _extreme_object(items, keys, ">" if function is builtins.max else "<")
        if (columns := columns_of(keys)) is not None:
            return picked(list(items), places(columns, reverse=function is builtins.max)[:1])[0]
        found, best = items[0], keys[0]
        for value, x in zip(items[1:], keys[1:], strict=True):
            better = _compared(compare, x, best, name)
            best = _either(better, x, best, name)
            found = best if key is None else _either(better, value, found, name)
        note_chosen(innermost_trace(keys), [found], list(items))
        return found

    return routed


def _of_users(x: Any) -> bool:
    return method(x, "__lt__") is not None or method(x, "__gt__") is not None


def _extreme_object(items: Any, keys: Any, symbol: str) -> Any:
    """The item whose key, an object of the user's, comes first; the first one of equal ones."""
    runtime = HOOKS["runtime"]()
    found, best = items[0], keys[0]
    for value, x in zip(items[1:], keys[1:], strict=True):
        better = binary(x, symbol, best)
        old, new = (best, found), (x, value)
        best, found = runtime.ifexp(better, lambda new=new: new, lambda old=old: old, 0)
    return found


def _many(iterable: Any) -> Steps | None:
    """What can be looped over by a recorded loop, if it has many items, of known number."""
    steps = steps_of(iterable) if HOOKS["current_trace"]() is not None else None
    return steps if steps is not None and isinstance(steps.count, int) and steps.count > _FEW else None


def _keys(iterable: Any, key: Callable[[Any], Any]) -> Any:
    """The keys of the items."""
    return _collected(iterable, HOOKS["callee"](key))


def _collected(iterable: Any, element: Callable[[Any], Any]) -> Any:
    """``[element(item) for item in iterable]``, by a recorded loop if it can be."""
    location = user_location()
    return HOOKS["runtime"]().collect(iterable, element, location.line if location else 0, 1)


def _or_default(items: Collection, of: Callable[[], Any], kwargs: dict[str, Any]) -> Any:
    """What a function gives for the items, or ``default`` where there are none."""
    if "default" not in kwargs:
        return of()
    return HOOKS["runtime"]().ifexp(items, of, lambda: kwargs["default"], 0)


def _compared(compare: np.ufunc, x: Any, y: Any, name: str) -> Any:
    for v in (x, y):
        if np.ndim(v):
            raise ConcretizationError(
                f"{name}() of arrays, one of shape {np.shape(v)}. Which of two arrays is the greater one is ambiguous. "
                f"Use np.{name}imum, element by element.",
                user_location(),
            )
    return HOOKS["operator"](compare, *promote(x, y)) if has_traced((x, y)) else compare(x, y)


def _either(first: Any, x: Any, y: Any, name: str) -> Any:
    """``x if first else y``, of numbers or of trees of numbers."""
    if not is_traced(first):
        return x if first else y
    leaves, tree = flatten(x)
    others, other = flatten(y)
    if tree != other:
        raise ConcretizationError(
            f"{name}() chooses by traced values among items of different structure. One program is compiled for all "
            "choices. Give all items the same structure.",
            user_location(),
        )
    return unflatten(tree, [_chosen(first, a, b) for a, b in zip(leaves, others, strict=True)])


def _chosen(first: Tracer, x: Any, y: Any) -> Any:
    if x is y or (type(x) is type(y) and not isinstance(x, (Tracer, np.ndarray)) and x == y):
        return x
    a, b = (v if isinstance(v, Tracer) else first.owner.lift(v) for v in (x, y))
    a, b = promote(a, b)
    chosen = where(first, a, b)
    weak = {class_of(v).__name__ for v in (x, y)}
    return Tracer(
        chosen.owner, chosen.value, _WEAK[kind_letter(chosen.dtype)] if weak <= {"int", "float", "bool"} else None
    )


def _sorted(iterable: Any, /, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> list[Any]:
    """``sorted``, by a sort in the program where the keys are traced. NaN comes last."""
    iterable, key = iterated(members(iterable) if key is None else iterable), of_keys(key)
    if isinstance(iterable, Collection) or (isinstance(iterable, Tracer) and isinstance(iterable.count, IndexExpr)):
        return _collected(_sorted_places(iterable, key, reverse), lambda place: iterable[place])
    plain = isinstance(iterable, Tracer) and len(iterable.dims) == 1 and isinstance(iterable.dims[0], int)
    items: list[Any] = [*elements(iterable, scalar=True)] if plain else list(iterable)
    if key is None:
        keys = items
    elif _many(iterable) is not None:
        keys = _keys(iterable, key)
    else:
        keys = list(map(HOOKS["callee"](key), items))
    known = _known_parts(keys)
    if known is not None:
        order = builtins.sorted(range(len(items)), key=known.__getitem__, reverse=reverse)
        return [items[k] for k in order]
    if (columns := columns_of(keys)) is not None:
        return picked(items, places(columns, reverse=reverse))
    for k in keys:
        if not isinstance(k, (Tracer, bool, int, float, np.generic)) or np.ndim(k):
            raise ConcretizationError(
                f"sorted() by keys that are no numbers, of type {class_of(k).__name__}, and traced ones among them. "
                "Traced values are compared while the program runs, which is done for numbers, and for tuples of as "
                "many numbers each. Use such keys, or np.lexsort.",
                user_location(),
            )
    many = as_array(innermost_trace(keys), keys)
    stack = innermost_trace(keys).lift(keys) if many is None else many
    return picked(items, places([stack], reverse=reverse))


def _known_parts(keys: Sequence[Any]) -> Sequence[Any] | None:
    """What decides the order of some keys and is known: these, or first items of tuples that all differ; else None."""
    if not has_traced(keys):
        return keys
    if not all(type(k) is tuple and k and isinstance(k[0], (int, float, str)) for k in keys):
        return None
    first = [k[0] for k in keys]
    return first if len(set(first)) == len(first) and all(x == x for x in first) else None


def _sorted_places(iterable: Any, key: Callable[[Any], Any] | None, reverse: bool) -> Tracer:
    """The places in the order of the keys, of what becomes an array."""
    keys = iterable if key is None else _keys(iterable, key)
    columns = columns_of(keys) if isinstance(keys, Collection) else [keys]
    return places([keys.array()] if columns is None else columns, reverse=reverse)


def picked(items: list[Any], places: Tracer) -> list[Any]:
    """The items at traced places. All are numbers, or trees of numbers of one structure."""
    columns, trees = zip(*map(flatten, items), strict=True)
    if any(t != trees[0] for t in trees):
        raise ConcretizationError(
            "sorted() of items of different structure, by traced keys. Which item comes where is not known while the "
            "function is traced. Give all items the same structure.",
            user_location(),
        )
    sources = []
    for column in zip(*columns, strict=True):
        weak = all(class_of(v) in (float, int, bool) for v in column)
        many = as_array(places.owner, list(column))
        stack = places.owner.lift(list(column)) if many is None else many
        kind = _WEAK[kind_letter(stack.dtype)] if weak else None
        sources.append(elements(stack[places], scalar=stack.ndim == 1, weak=kind))
    made = [unflatten(trees[0], row) for row in zip(*sources, strict=True)]
    note_chosen(places.owner, made, items)
    return made


def sort_list(items: list[Any], /, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
    """``list.sort``."""
    items[:] = _sorted(items, key=key, reverse=reverse)


def _junction(function: Callable[[Any], bool], of_two: np.ufunc, of_all: Any) -> Callable[[Any], Any]:
    @functools.wraps(function)
    def routed(iterable: Any, /) -> Any:
        iterable = iterated(iterable)
        items: Any = [iterable.array()] if isinstance(iterable, Collection) else list(iterable)
        items = [users_protocols.truth(x) for x in items]
        many = items[0] if isinstance(iterable, Collection) else None
        if len(items) > _FEW:
            many = as_array(HOOKS["current_trace"](), items)
        if many is not None and many.ndim == 1:
            result = call(of_all, (many,), {})
            return Tracer(result.owner, result.value, "bool")
        if not has_traced(items):
            return function(items)
        for item in items:
            if np.ndim(item):
                raise ConcretizationError(
                    f"{function.__name__}() over arrays, one of shape {np.shape(item)}. The truth value of an array "
                    f"with more than one element is ambiguous. Use np.{function.__name__}.",
                    user_location(),
                )
        result = functools.reduce(of_two, items, of_two.identity)
        return Tracer(result.owner, result.value, "bool")

    return routed


# -- iterators ---------------------------------------------------------------------------------------------------------


def _sum(iterable: Iterable[Any], /, start: Any = 0) -> Any:
    """``sum``. Many elements of a traced array are added up by one operation, in the order of ``np.sum``."""
    many, weak = None, None
    iterable = _gathered(iterated(members(iterable)))
    if isinstance(iterable, Tracer):
        many = iterable
    elif isinstance(iterable, Pair) and iterable.dims and isinstance(iterable.dims[0], int):
        return start + call(np.sum, (iterable,), {"axis": 0})
    elif isinstance(iterable, Collection):
        many, weak = iterable.array(), iterable.weak
    elif isinstance(iterable, (list, tuple)) and has_traced(iterable):
        many = as_array(innermost_trace(*iterable), iterable)
        weak = iterable[0].weak if isinstance(iterable[0], Tracer) else None
    if many is None or not many.dims or (isinstance(many.dims[0], int) and many.dims[0] <= _FEW):
        return builtins.sum(iterable, start)
    total = call(np.sum, (many,), {"axis": 0, "dtype": None if many.dtype.kind == "b" else many.dtype})
    return start + (Tracer(total.owner, total.value, weak) if weak and not total.dims else total)


def _next(iterator: Any, *default: Any) -> Any:
    """``next``. What is recorded once can't take an item at every iteration."""
    trace = HOOKS["current_trace"]()
    if type(iterator) is Generated:
        return _next_generated(iterator, *default)
    if trace is not None and trace.scopes:
        raise RollError(
            "next() is called in a loop body or branch that is recorded once for all times that it runs. An iterator "
            "gives another item each time. Index an array, or use a loop that is unrolled.",
            user_location(),
        )
    take = method(iterator, "__next__")
    if take is None:
        return builtins.next(iterator, *default)
    try:
        return take()
    except StopIteration:
        if not default:
            raise
    return default[0]


def _next_generated(generator: Generated, *default: Any) -> Any:
    """``next`` of a generator of the user's, which Python runs, or else is recorded up to its next ``yield``."""
    start, trace = generator.position, HOOKS["current_trace"]()
    if is_traced(start) and consumable(generator) and not trace.scopes:
        return HOOKS["first"](generator, *default)  # in a loop that would take time in the square of its iterations
    if is_traced(start) or not consumable(generator):
        return builtins.next(generator, *default)
    try:
        with attempt(trace):
            return builtins.next(generator, *default)
    except JitgradError as error:
        forget_frames(error)
    generator.move(start)
    return HOOKS["first"](generator, *default)


def _len(obj: Any, /) -> Any:
    found = users_protocols.length(obj)
    return length(obj) if found is None else found


def _round(number: Any, *args: Any, **kwargs: Any) -> Any:
    found = method(number, "__round__")
    return round(number, *args, **kwargs) if found is None else found(*args, **kwargs)


def _map(function: Any, *iterables: Any, **kwargs: Any) -> Any:
    iterables = tuple(map(iterated, iterables))
    if len(iterables) == 1 and not kwargs and consumable(iterables[0]):
        return iterators.mapped(function, iterables[0])
    return builtins.map(HOOKS["callee"](function), *iterables, **kwargs)


def _filter(function: Any, iterable: Any, /) -> Iterator[Any]:
    keeps = HOOKS["callee"](function) if callable(function) else lambda x: x
    if HOOKS["current_trace"]() is None:
        return _filtered(keeps, iterable)
    return iterators.filtering(keeps, iterable, lambda: _filtered(keeps, iterable))


def _filtered(keeps: Callable[[Any], Any], iterable: Any) -> Iterator[Any]:
    for x in iterated(iterable):
        keep = users_protocols.truth(keeps(x))
        if is_traced(keep):
            raise ConcretizationError(
                "filter() keeps items by a traced condition. How many are kept is not known while the function is "
                "traced. Give the others a value that changes nothing: sum(x if x > 0 else 0.0 for x in a), or use "
                "np.where.",
                user_location(),
            )
        if keep:
            yield x


def _pow(base: Any, exp: Any, mod: Any = None) -> Any:
    if mod is not None and has_traced((base, exp, mod)):
        raise UnsupportedError(
            "pow() with a modulus is not supported on traced values. Powers of traced integers wrap around at 64 bits. "
            "Square and multiply in a loop, taking the remainder at each step.",
            user_location(),
        )
    return builtins.pow(base, exp, mod)


#: What Python's names mean in a traced function.
BUILTINS: dict[str, Any] = {
    "abs": absolute,
    "all": _junction(builtins.all, np.logical_and, np.all),
    "any": _junction(builtins.any, np.logical_or, np.any),
    "filter": _filter,
    "getattr": attributes.getattr_,
    "hasattr": attributes.hasattr_,
    "hash": hash_,
    "id": id_,
    "isinstance": _isinstance,
    "iter": iteration.iter_,
    "len": _len,
    "map": _map,
    "max": _extreme(builtins.max, np.greater, np.max, np.argmax),
    "min": _extreme(builtins.min, np.less, np.min, np.argmin),
    "next": _next,
    "pow": _pow,
    "round": _round,
    "sorted": _sorted,
    "sum": _sum,
    "vars": vars_,
}
