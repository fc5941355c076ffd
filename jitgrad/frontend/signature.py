"""Arguments and results as trees of leaves, by optree; and the kinds of leaves that a compiled program takes.

Trees are dicts, lists, tuples, named tuples, dataclasses and None (no leaves), nested at will. A dataclass is entered
into optree's registry, in jitgrad's own namespace, when it is first met. Its fields are children, but for strings,
functions and classes, and for those declared with ``field(metadata={"static": True})``: they belong to the structure.
"""

from __future__ import annotations

import dataclasses
import inspect
import threading
import types
import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import optree

from jitgrad.errors import ArgumentError, DtypeError
from jitgrad.frontend.complex_pair import Pair, is_plain_complex
from jitgrad.frontend.registry import HOOKS
from jitgrad.ir.generators import GENERATORS, handle
from jitgrad.ir.location import user_location
from jitgrad.ir.types import (
    DTYPES,
    SHORT_NAMES,
    TensorType,
    bool_,
    dtype_of_text,
    f64,
    i64,
    is_bfloat16,
    is_float,
    supported_names,
)

NAMESPACE = "jitgrad"
_STATIC_FIELDS = (str, bytes, type, types.FunctionType, types.BuiltinFunctionType, np.ufunc)
_registration = threading.Lock()
_registered: set[type] = set()

# A dict keeps the order of its keys: a function that goes through one depends on it, so it belongs to the structure.
_ordered_dicts = optree.dict_insertion_ordered(True, namespace=NAMESPACE)  # ends when it is collected
_ordered_dicts.__enter__()


class LeafSpec(NamedTuple):
    """What a program is compiled for: ``weak`` is a Python number (NEP 50), ``scalar`` is passed as a scalar object."""

    type: TensorType
    weak: bool = False
    scalar: bool = False


_PYTHON = {float: LeafSpec(TensorType(f64), True, True), int: LeafSpec(TensorType(i64), True, True)}
_PYTHON[bool] = LeafSpec(TensorType(bool_), True, True)
_SCALARS: dict[type, LeafSpec] = {d.type: LeafSpec(TensorType(d), False, True) for d in DTYPES.values()}
#: A generator of random numbers comes as its handle.
_HANDLES: dict[type, LeafSpec] = dict.fromkeys(GENERATORS, LeafSpec(TensorType(i64), False, True))
_SPECS: dict[Hashable, LeafSpec] = {**_SCALARS, **_PYTHON, **_HANDLES}


def flatten(tree: Any) -> tuple[list[Any], optree.PyTreeSpec]:
    """The leaves of a tree, and its structure. Unknown dataclasses on the way are registered, and complex numbers and
    arrays are nodes with two leaves, views of their parts."""
    leaves, spec = optree.tree_flatten(tree, namespace=NAMESPACE)
    if any(map(_is_no_leaf, leaves)):
        for leaf in leaves:
            if _is_new_dataclass(leaf):
                register_dataclass(type(leaf))
        if any(map(is_plain_complex, leaves)):
            leaves, spec = optree.tree_flatten(tree, _is_pair, namespace=NAMESPACE)
            tree = unflatten(spec, [HOOKS["complex_leaf"](x) if is_plain_complex(x) else x for x in leaves])
        return flatten(tree)
    return leaves, spec


def _is_pair(obj: Any) -> bool:
    return isinstance(obj, Pair)


def _is_no_leaf(leaf: Any) -> bool:
    cls = type(leaf)
    if cls is np.ndarray:
        return leaf.dtype.kind == "c"
    return cls is not float and (is_plain_complex(leaf) or _is_new_dataclass(leaf))


def is_complex_node(spec: optree.PyTreeSpec) -> bool:
    """Is it the structure of a complex value?"""
    return spec.type is not None and issubclass(spec.type, Pair)


def complex_leaves(spec: optree.PyTreeSpec, *, inside: bool = False) -> list[bool]:
    """Which of the leaves are parts of complex values?"""
    if spec.is_leaf():
        return [inside]
    inside = is_complex_node(spec)
    return [x for child in optree.treespec_children(spec) for x in complex_leaves(child, inside=inside)]


def widened(spec: optree.PyTreeSpec, like: optree.PyTreeSpec) -> list[bool]:
    """Which leaves are real where another structure has complex values."""
    if spec.is_leaf():
        return [is_complex_node(like)]
    if spec.type is like.type and spec.num_children == like.num_children:
        pairs = zip(optree.treespec_children(spec), optree.treespec_children(like), strict=True)
        return [x for child, other in pairs for x in widened(child, other)]
    return [False] * spec.num_leaves


def with_complex(spec: optree.PyTreeSpec, where: Sequence[bool]) -> optree.PyTreeSpec:
    """The structure with complex values in the places of some of its leaves."""
    return flatten(unflatten(spec, [0j if wide else 0 for wide in where]))[1]


def unflatten(spec: optree.PyTreeSpec, leaves: Sequence[Any]) -> Any:
    """The tree of that structure with new leaves."""
    return optree.tree_unflatten(spec, leaves)


def leaves_like(tree: Any, spec: optree.PyTreeSpec) -> list[Any] | None:
    """The leaves of a tree in the order of ``spec``; None if it has another structure. The order of keys in a dict
    makes no difference."""
    leaves, found = flatten(tree)
    if found == spec:
        return leaves
    where = widened(found, spec)
    if any(where):  # a real number for a complex one
        wide = [x for leaf, add in zip(leaves, where, strict=True) for x in ((leaf, leaf.imag) if add else (leaf,))]
        if with_complex(found, where) == spec:
            return wide
    try:
        leaves = spec.flatten_up_to(tree)
    except (TypeError, ValueError):
        return None
    return None if any(map(is_tree, leaves)) else leaves


def is_tree(obj: Any) -> bool:
    """True for containers, dataclasses and objects registered with optree: for all that isn't a leaf."""
    return _is_new_dataclass(obj) or not optree.tree_is_leaf(obj, namespace=NAMESPACE)


def _is_new_dataclass(leaf: Any) -> bool:
    cls = type(leaf)
    return hasattr(cls, "__dataclass_fields__") and cls not in _registered and not isinstance(leaf, type)


def register_node(cls: Any, split: Any, join: Any) -> None:
    """Make a class a tree node. ``split`` gives the children of an object, what is left, and the names of the children
    as attributes; ``join`` takes what is left, and children."""
    optree.register_pytree_node(cls, split, join, path_entry_type=optree.GetAttrEntry, namespace=NAMESPACE)


def register_dataclass(cls: type) -> None:
    """Make a dataclass a tree node. Instances are rebuilt without ``__init__``, so that any leaf may be filled in."""
    names = [f.name for f in dataclasses.fields(cls)]  # pyright: ignore[reportArgumentType]
    declared = {f.name for f in dataclasses.fields(cls) if f.metadata.get("static")}  # pyright: ignore[reportArgumentType]

    def split(obj: Any) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[str, ...]]:
        values = {name: getattr(obj, name) for name in names}
        static = tuple((n, v) for n, v in values.items() if n in declared or isinstance(v, _STATIC_FIELDS))
        fixed = {n for n, _ in static}
        free = tuple(n for n in names if n not in fixed)
        return tuple(values[n] for n in free), (free, static, tuple(static_key(v) for _, v in static)), free

    def join(metadata: tuple[Any, ...], children: Any) -> Any:
        free, static, _ = metadata
        obj = object.__new__(cls)
        for name, value in (*zip(free, children, strict=True), *static):
            object.__setattr__(obj, name, value)
        return obj

    with _registration:
        if cls not in _registered:
            register_node(cls, split, join)
            _registered.add(cls)


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """The key of a number that a program is traced and compiled for, in the place of its type ``kind``. The program
    takes the number as it takes others, and makes no use of it."""

    kind: type
    value: Any

    @classmethod
    def of(cls, kind: Any, leaf: Any) -> Known:
        """For a leaf with the key ``kind``, both as :func:`prepare_leaf` gives them."""
        return cls(kind, kind(leaf))


def kind_of(key: Hashable) -> Hashable:
    """The key of a leaf without the number that it is known to be."""
    return key.kind if isinstance(key, Known) else key


def spec_of(key: Hashable) -> LeafSpec:
    """The leaf that a key of :func:`prepare_leaf` stands for."""
    key = kind_of(key)
    found = _SPECS.get(key)
    if found is not None:
        return found
    dtype, shape = key  # pyright: ignore[reportGeneralTypeIssues]
    return LeafSpec(TensorType(dtype.newbyteorder("="), shape))


def is_handle(key: Hashable) -> bool:
    """Whether a key of :func:`prepare_leaf` stands for a generator."""
    return key in _HANDLES


def python_converter(key: Hashable) -> Callable[[Any], Any] | None:
    """What turns a Python int or bool, or a generator, into the NumPy scalar that native code takes; None for leaves
    that it takes as they are."""
    if key in _HANDLES:
        return handle
    if kind_of(key) not in (int, bool):
        return None
    if isinstance(key, Known):
        number = key.value
        native = np.bool_(number) if key.kind is bool else np.int64(number)
        return lambda leaf: native
    return np.bool_ if key is bool else lambda leaf: _int64(leaf, lambda: "an argument")


def prepare_leaf(leaf: Any, path: Callable[[], str], on_device: bool = False) -> tuple[Hashable, Any]:
    """The cache key of a leaf, and the leaf as native code takes it: a NumPy scalar, a float, or a C-contiguous aligned
    array in native byte order (a copy, if the caller's isn't one). For a program ``on_device``, arrays that are on a
    device are left as they are.

    Raises ArgumentError or DtypeError for anything else; ``path()`` names the leaf.
    """
    cls = type(leaf)
    if cls is np.ndarray:
        flags = leaf.flags
        if not (flags.c_contiguous and flags.aligned and leaf.dtype.isnative):
            leaf = np.array(leaf, dtype=leaf.dtype.newbyteorder("="), order="C")
        _check_dtype(leaf.dtype, path)
        return (leaf.dtype, leaf.shape), leaf
    if cls is float or cls in _SCALARS:
        return cls, leaf
    if cls is bool:
        return bool, np.bool_(leaf)
    if cls is int:
        return int, _int64(leaf, path)
    if cls in _HANDLES:
        return cls, handle(leaf)
    if on_device:
        found = getattr(leaf, "__cuda_array_interface__", None)
        if found is not None:
            dtype = dtype_of_text(found["typestr"])
            _check_dtype(dtype, path)
            return (dtype, tuple(found["shape"])), leaf
    return _prepare_other(leaf, path)


def _int64(leaf: int, path: Callable[[], str]) -> np.int64:
    if not -(2**63) <= leaf < 2**63:
        raise ArgumentError(
            f"{path()} is {_short_int(leaf)}. Python integers are traced as int64, and it does not fit. "
            "Pass a float, or make it static with jg.jit(..., static_argnames=...).",
            user_location(),
        )
    return np.int64(leaf)


def _short_int(number: int) -> str:
    return str(number) if abs(number) < 10**30 else f"an integer of {number.bit_length()} bits"


def _prepare_other(leaf: Any, path: Callable[[], str]) -> tuple[Hashable, Any]:
    """Subclasses of the types that :func:`prepare_leaf` knows, and objects that convert themselves to arrays."""
    if isinstance(leaf, np.ma.MaskedArray):
        raise ArgumentError(
            f"{path()} is a masked array. jitgrad has no masked arrays and would lose the mask. "
            "Pass leaf.filled(...) and the mask as two arguments.",
            user_location(),
        )
    if isinstance(leaf, np.matrix):
        raise ArgumentError(
            f"{path()} is a np.matrix. Its operators mean other things than those of arrays: * is the matrix product. "
            "Pass np.asarray(leaf), and write @ for products.",
            user_location(),
        )
    if isinstance(leaf, np.generic):
        _check_dtype(leaf.dtype, path)
        if is_bfloat16(leaf.dtype):  # the first one that is met
            _SPECS[type(leaf)] = _SCALARS[type(leaf)] = LeafSpec(TensorType(leaf.dtype), False, True)
        return prepare_leaf(leaf.dtype.newbyteorder("=").type(leaf), path)
    for python in (bool, int, float):
        if isinstance(leaf, python):
            return prepare_leaf(python(leaf), path)
    if isinstance(leaf, complex):
        _check_dtype(np.dtype(complex), path)
    if isinstance(leaf, np.ndarray) or hasattr(leaf, "__array__"):
        return prepare_leaf(np.asarray(leaf), path)
    raise ArgumentError(
        f"{path()} is of type {type(leaf).__name__}, which can't be traced. Arguments are arrays, numbers, or trees "
        "(dict, list, tuple, named tuple, dataclass, None) of them. Make it static with "
        "jg.jit(..., static_argnames=...), or close over it.",
        user_location(),
    )


def _check_dtype(dtype: np.dtype, path: Callable[[], str]) -> None:
    if dtype.newbyteorder("=") not in SHORT_NAMES:
        raise DtypeError(
            f"{path()} has dtype {dtype}, which is not supported. jitgrad computes with "
            f"{supported_names()}. Convert it with astype() first.",
            user_location(),
        )


def why_converted(leaf: Any) -> str:
    """Why :func:`prepare_leaf` did not take a leaf as it is."""
    if type(leaf) is not np.ndarray:
        return f"it is of type {type(leaf).__name__}"
    if not leaf.dtype.isnative:
        return f"its byte order ({leaf.dtype.str}) is not the machine's"
    return "it is not aligned" if leaf.flags.c_contiguous else "it is not C-contiguous"


def static_key(value: Any) -> Any:
    """What tells static values apart that Python takes for equal: 1, 1.0 and True, or 0.0 and -0.0, also in tuples.
    A NaN is equal to itself."""
    if isinstance(value, (tuple, frozenset)):
        return type(value), type(value)(map(static_key, value)) if type(value) in (tuple, frozenset) else value
    if isinstance(value, float) or (isinstance(value, np.generic) and is_float(value.dtype)):
        return type(value), float(value).hex()
    return type(value), value


class Identity:
    """A static argument that is compared by identity and not kept alive: the object of a method."""

    __slots__ = ("__weakref__", "_id", "_strong", "_weak")

    def __init__(self, obj: Any) -> None:
        self._id = id(obj)
        self._strong = self._weak = None
        try:
            self._weak = weakref.ref(obj)
        except TypeError:  # it has __slots__ without __weakref__
            self._strong = obj

    @property
    def is_weak(self) -> bool:
        return self._weak is not None

    @property
    def object(self) -> Any:
        """The object; None when it is gone."""
        return self._strong if self._weak is None else self._weak()

    def __hash__(self) -> int:
        return self._id

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Identity) and self.object is other.object is not None)


class Call(NamedTuple):
    """The arguments of one call: traced ones as a tree ``(args, kwargs)`` without the static ones."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    static: tuple[tuple[int | str, Any], ...] = ()

    def rebuild(self, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """All arguments, with new traced ones."""
        full, named = list(args), dict(kwargs)
        for where, value in self.static:
            if isinstance(where, int):
                full.insert(where, value.object if isinstance(value, Identity) else value)
            else:
                named[where] = value
        return full, named

    def position(self, argnum: int) -> int:
        """The position among the traced arguments of the positional argument ``argnum``."""
        return argnum - sum(1 for where, _ in self.static if isinstance(where, int) and where < argnum)


class Signature:
    """The parameters of a function: their names, and which of them are static.

    ``static_argnums`` and ``static_argnames`` name the same thing twice over: either finds an argument whether it is
    passed by position or by name. Raises ArgumentError for numbers and names that the function does not have.

    ``method``: the first argument is the object of a method. Unless it is a tree, it is static by identity.
    """

    def __init__(
        self,
        fun: Callable[..., Any],
        static_argnums: Sequence[int] = (),
        static_argnames: Sequence[str] = (),
        *,
        method: bool = False,
    ) -> None:
        self.method = method
        self.name = getattr(fun, "__name__", type(fun).__name__)
        self.positional, self.variadic, known = _parameters(fun)
        names, numbers = set(static_argnames), set()
        for k in static_argnums:
            n = k + len(self.positional) if k < 0 else k
            if not 0 <= n < len(self.positional) and not (n >= 0 and self.variadic):
                raise ArgumentError(
                    f"static_argnums has {k}, but {self.name} has {len(self.positional)} positional parameters. "
                    "Count from 0, or use static_argnames.",
                    user_location(),
                )
            if n < len(self.positional):
                names.add(self.positional[n])
            numbers.add(n)
        if known is not None:
            for name in names - known:
                raise ArgumentError(
                    f"static_argnames has {name!r}, but {self.name} has no parameter of that name. Its parameters are "
                    f"{', '.join(sorted(known)) or 'none'}.",
                    user_location(),
                )
        numbers.update(k for k, name in enumerate(self.positional) if name in names)
        self.static_names, self.static_numbers = frozenset(names), frozenset(numbers)

    def split(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Positional parameters that are passed by name become positional; static ones are set apart."""
        if kwargs:
            args, kwargs = self._positional_first(args, kwargs)
        numbers = self.static_numbers
        bound = self.method and bool(args) and not is_tree(args[0])
        if not self.static_names and not numbers and not bound:
            return Call(args, kwargs)
        static: list[tuple[int | str, Any]] = [(0, Identity(args[0]))] if bound else []
        static += [(k, a) for k, a in enumerate(args) if k in numbers]
        static += [(k, v) for k, v in sorted(kwargs.items()) if k in self.static_names]
        for where, value in static:
            self._check_hashable(where, value)
        return Call(
            tuple(a for k, a in enumerate(args) if k not in numbers and not (bound and k == 0)),
            {k: v for k, v in kwargs.items() if k not in self.static_names},
            tuple(static),
        )

    def _positional_first(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        moved: list[Any] = []
        for name in self.positional[len(args) :]:
            if name not in kwargs:
                break
            moved.append(kwargs[name])
        taken = self.positional[len(args) : len(args) + len(moved)]
        return (*args, *moved), {k: v for k, v in kwargs.items() if k not in taken}

    def _check_hashable(self, where: int | str, value: Any) -> None:
        try:
            hash(value)
        except TypeError:
            raise ArgumentError(
                f"the static argument {self.argument_name(where)} of {self.name} is an unhashable "
                f"{type(value).__name__}. Static arguments are part of the cache key. "
                "Pass a tuple or another hashable object, or don't make it static.",
                user_location(),
            ) from None

    def argument_name(self, where: int | str) -> str:
        """The name of a parameter, by number or name."""
        if isinstance(where, str):
            return where
        return self.positional[where] if where < len(self.positional) else f"args[{where}]"

    def leaf_paths(self, spec: optree.PyTreeSpec, call: Call) -> list[str]:
        """A name like ``params['w1']`` for each leaf of ``(call.args, call.kwargs)``."""
        numbers = [k for k in range(len(call.args) + len(call.static)) if call.position(k + 1) > call.position(k)]
        paths = []
        for accessor in optree.treespec_accessors(spec):
            group, where = accessor[0].entry, accessor[1].entry
            name = where if group == 1 else self.argument_name(numbers[where])
            paths.append(accessor[2:].codify(name))
        return paths


def _parameters(fun: Callable[..., Any]) -> tuple[list[str], bool, set[str] | None]:
    """Names of the positional parameters; whether there is ``*args``; all names, or None if any name will do."""
    try:
        parameters = inspect.signature(fun).parameters.values()
    except (TypeError, ValueError):  # a builtin without a signature
        return [], True, None
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    variadic = any(p.kind == p.VAR_POSITIONAL for p in parameters)
    if any(p.kind == p.VAR_KEYWORD for p in parameters):
        return positional, variadic, None
    return positional, variadic, {p.name for p in parameters}
