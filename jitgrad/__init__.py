"""jitgrad: a just-in-time compiler for NumPy programs and their derivatives.

>>> import numpy as np
>>> import jitgrad as jg
>>> @jg.grad
... def loss(w, x, y):
...     return np.mean((np.tanh(x @ w) - y) ** 2)
"""

from typing import TYPE_CHECKING, Any

import jitgrad.codegen.openblas  # noqa: F401  before anything else imports SciPy's BLAS

# isort: split

from jitgrad import config, errors, numpy, scipy, testing
from jitgrad.api import compile, grad, hessian, jacobian, jit, jvp, stop_gradient, trace, value_and_grad, vjp, vmap
from jitgrad.autodiff.jvp import jvp_graph
from jitgrad.autodiff.vjp import vjp_graph
from jitgrad.control import checkpoint, cond, fori_loop, scan, switch, while_loop
from jitgrad.custom import custom_jvp, custom_vjp
from jitgrad.draw import Drawing, draw
from jitgrad.ir.core import Builder, Graph
from jitgrad.ir.interpret import interpret
from jitgrad.ir.parser import parse
from jitgrad.ir.types import TensorType, bool_, f16, f32, f64, i32, i64
from jitgrad.ir.verify import verify
from jitgrad.numpy import add_at, set_at
from jitgrad.runtime.cache import cache_info, clear_cache
from jitgrad.runtime.direct import release_memory
from jitgrad.runtime.threads import get_num_threads, set_num_threads
from jitgrad.version import __version__ as __version__

if TYPE_CHECKING:
    from jitgrad.cuda.array import DeviceArray
    from jitgrad.cuda.devices import device, devices
    from jitgrad.placement import device_put

__all__ = [
    "Builder",
    "DeviceArray",
    "Drawing",
    "Graph",
    "TensorType",
    "add_at",
    "bool_",
    "cache_info",
    "checkpoint",
    "clear_cache",
    "compile",
    "cond",
    "config",
    "custom_jvp",
    "custom_vjp",
    "device",
    "device_put",
    "devices",
    "draw",
    "errors",
    "f16",
    "f32",
    "f64",
    "fori_loop",
    "get_num_threads",
    "grad",
    "hessian",
    "i32",
    "i64",
    "interpret",
    "jacobian",
    "jit",
    "jvp",
    "jvp_graph",
    "numpy",
    "parse",
    "release_memory",
    "scan",
    "scipy",
    "set_at",
    "set_num_threads",
    "stop_gradient",
    "switch",
    "testing",
    "trace",
    "value_and_grad",
    "verify",
    "vjp",
    "vjp_graph",
    "vmap",
    "while_loop",
]

#: What is imported when it is first asked for: programs for the CPU do without.
_LATER = {
    "DeviceArray": "jitgrad.cuda.array",
    "device": "jitgrad.cuda.devices",
    "devices": "jitgrad.cuda.devices",
    "device_put": "jitgrad.placement",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'jitgrad' has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(_LATER[name]), name)
    return value
