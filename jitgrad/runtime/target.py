"""Numba's compiler without Numba's library.

Before it compiles anything for the CPU, Numba loads its implementations of Python and NumPy, and its passes look for
what they can do. The functions that are compiled here do nothing but call one intrinsic. So their target, which is made
with Numba's interface for other targets, has none of that: the first compilation of a process is 0.2 s shorter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.core import boxing, cpu, typeinfer  # noqa: F401  (boxing makes Python objects of results)
from numba.core import typed_passes as typed
from numba.core import untyped_passes as untyped
from numba.core.compiler import CompilerBase
from numba.core.compiler_machinery import PassManager
from numba.core.registry import CPUDispatcher, CPUTarget
from numba.core.target_extension import CPU, dispatcher_registry, target_override, target_registry
from numba.core.typing.context import Context
from numba.core.utils import threadsafe_cached_property

_NAME = "jitgrad"


class _TypingContext(Context):
    def load_additional_registries(self) -> None:
        """There are no functions to know."""


class _TargetContext(cpu.CPUContext):
    def load_additional_registries(self) -> None:
        """There is nothing to implement."""

    def post_lowering(self, mod: Any, library: Any) -> None:
        """There is nothing that needs Numba's runtime, which would be linked."""


class _Target(CPUTarget):
    @threadsafe_cached_property
    def _toplevel_target_context(self) -> Any:
        return _TargetContext(self.typing_context, self._target_name)

    @threadsafe_cached_property
    def _toplevel_typing_context(self) -> Any:
        return _TypingContext()


class _Compiler(CompilerBase):
    """The passes that a call of an intrinsic needs."""

    def define_pipelines(self) -> list[PassManager]:
        passes = PassManager("jitgrad")
        for each in (
            untyped.TranslateByteCode, untyped.FixupArgs, untyped.IRProcessing, typed.NopythonTypeInference,
            typed.IRLegalization, typed.AnnotateTypes, typed.NativeLowering, typed.NoPythonBackend,
        ):  # fmt: skip
            passes.add_pass(each, each.__name__)
        passes.finalize()
        return [passes]


class _Jitgrad(CPU):
    """The name of the target, as a class."""


class _Dispatcher(CPUDispatcher):
    targetdescr = _Target(_NAME)


target_registry[_NAME] = _Jitgrad
dispatcher_registry[_Jitgrad] = _Dispatcher


def compile_intrinsic(function: Callable[..., Any], signature: Any) -> Any:
    """Compile a function that calls one intrinsic: Numba's result for it."""
    options = {"nopython": True, "nogil": True, "_nrt": False, "boundscheck": None}
    dispatcher = _Dispatcher(py_func=function, targetoptions=options, pipeline_class=_Compiler)
    with target_override(_NAME), typeinfer.register_dispatcher(dispatcher):
        dispatcher.compile(signature)
    dispatcher.disable_compile()
    (compiled,) = dispatcher.overloads.values()
    return compiled
