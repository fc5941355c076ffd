"""Moving trees of arrays to a GPU."""

from __future__ import annotations

from typing import Any

from jitgrad.cuda import devices
from jitgrad.frontend.signature import flatten, unflatten


def device_put(tree: Any, device: devices.Device | int | None = None) -> Any:
    """The tree with each array or number as a :class:`DeviceArray`, on a GPU.

    ``device`` is a device, its number, or None: then arrays that are on a GPU stay where they are, and others go to the
    default device. GPU arrays of other libraries (CuPy, torch, JAX) are taken without a copy. NumPy's are copied, and
    may be changed as soon as this returns.

    Raises DeviceError where CUDA can't be used, DtypeError for what is no number, OutOfMemoryError.
    """
    where = device if device is None or isinstance(device, devices.Device) else devices.device(device)
    leaves, spec = flatten(tree)
    return unflatten(spec, [devices.put_leaf(leaf, where) for leaf in leaves])
