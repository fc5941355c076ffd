"""Programs that have no form for a device: compiled for the CPU, and run there on copies of the device's arrays."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jitgrad.config import current
from jitgrad.cuda.array import DeviceArray
from jitgrad.cuda.devices import put_leaf
from jitgrad.cuda.grid import NotOnDevice
from jitgrad.cuda.program import common_device
from jitgrad.errors import DeviceError, JitgradWarning, describe_location


def on_host(name: str, reason: NotOnDevice, run: Callable[..., Sequence[Any]]) -> Callable[..., list[DeviceArray]]:
    """``call(leaves)`` of a program by its executable for the CPU, ``run(*arrays)``. Results are on the device that
    the arguments are on.

    Warns, with the user's line. Raises DeviceError under ``config.strict_device``.
    """
    if current().strict_device:
        raise DeviceError(
            f"{reason.message} config.strict_device forbids to run {name} on the host. Leave that off, or write it in "
            "another way.",
            reason.location,
        ) from reason
    text = f"{reason.message} So {name} runs on the host, on copies, and the device waits for it."
    warnings.warn(text + describe_location(reason.location), JitgradWarning, stacklevel=2)

    def call(leaves: Sequence[Any]) -> list[DeviceArray]:
        where = common_device(leaves)
        arrays = [x if isinstance(x, np.ndarray | np.generic) else _on_host(x) for x in leaves]
        return [where.put(np.asarray(x)) for x in run(*arrays)]

    return call


def _on_host(leaf: Any) -> Any:
    return put_leaf(leaf, None).numpy()
