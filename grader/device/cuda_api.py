"""`torch.cuda` and `torch.accelerator` as a machine with one H100 shows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .patching import Patches
from .tags import CUDA, is_accelerated, mark

NAME = "NVIDIA H100 80GB HBM3"
CAPABILITY = (9, 0)
TOTAL_BYTES = 85_045_870_592
USED_BYTES = 1 << 20
"""Memory is not accounted for: every question about it gets one constant."""


class Properties:
    name = NAME
    major, minor = CAPABILITY
    total_memory = TOTAL_BYTES
    multi_processor_count = 132
    warp_size = 32
    is_integrated = 0
    is_multi_gpu_board = 0
    max_threads_per_multi_processor = 2048
    gcnArchName = NAME

    def __repr__(self) -> str:
        return (
            f"_CudaDeviceProperties(name='{NAME}', major=9, minor=0, "
            f"total_memory={TOTAL_BYTES >> 20}MB, multi_processor_count=132)"
        )


class Stream:
    """A stream on which everything is already done."""

    device = CUDA
    device_index = 0
    cuda_stream = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *args: object) -> None:
        pass

    def synchronize(self, *args: Any) -> None:
        pass

    wait_stream = wait_event = synchronize

    def query(self) -> bool:
        return True

    def is_capturing(self) -> bool:
        return False

    def record_event(self, event: Event | None = None) -> Event:
        return event or Event()


class Event:
    """An event that has happened; the time between two is that of the wall clock, in milliseconds."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._at = 0.0

    def record(self, *args: Any) -> None:
        import time

        self._at = time.perf_counter()

    def synchronize(self, *args: Any) -> None:
        pass

    wait = synchronize

    def query(self) -> bool:
        return True

    def elapsed_time(self, end: Event) -> float:
        return (end._at - self._at) * 1000.0


class _LegacyType(type):
    dtype: torch.dtype

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, torch.Tensor) and is_accelerated(instance) and instance.dtype is cls.dtype


def _legacy_type(name: str, dtype: torch.dtype) -> type:
    def make(cls: Any, *args: Any) -> torch.Tensor:
        made: torch.Tensor = getattr(torch, name)(*args)
        mark(made)
        return made

    return _LegacyType(name, (), {"__new__": make, "dtype": dtype, "__module__": "torch.cuda"})


def _constant(value: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: value


def _nothing() -> Callable[..., None]:
    """A function that does nothing; a new one each time, for torch keeps tables keyed by function.

    CUDA's own seed is not kept: see `generators`.
    """
    return lambda *args, **kwargs: None


_NO_OPS = """
_lazy_init init synchronize empty_cache ipc_collect reset_peak_memory_stats reset_max_memory_allocated
reset_max_memory_cached reset_accumulated_memory_stats manual_seed manual_seed_all seed seed_all
set_device set_stream set_per_process_memory_fraction
"""

_CONSTANTS: dict[str, Any] = {
    "is_available": True,
    "is_initialized": True,
    "device_count": 1,
    "current_device": 0,
    "get_device_name": NAME,
    "get_device_capability": CAPABILITY,
    "get_arch_list": ["sm_80", "sm_90"],
    "memory_allocated": USED_BYTES,
    "max_memory_allocated": USED_BYTES,
    "memory_reserved": 2 * USED_BYTES,
    "max_memory_reserved": 2 * USED_BYTES,
    "memory_summary": "",
    "mem_get_info": (TOTAL_BYTES - 2 * USED_BYTES, TOTAL_BYTES),
    "is_bf16_supported": True,
    "is_current_stream_capturing": False,
    "can_device_access_peer": False,
    "_exchange_device": 0,
    "_maybe_exchange_device": 0,
}


def _autocast(original: Any) -> Any:
    def __init__(
        self: Any,
        device_type: str,
        dtype: torch.dtype | None = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        if device_type == "cuda":
            device_type, dtype = "cpu", dtype or torch.float16
        original(self, device_type, dtype, enabled, cache_enabled)

    return __init__


def patch(patches: Patches) -> None:
    cuda, accelerator = torch.cuda, torch.accelerator
    for name in _NO_OPS.split():
        if hasattr(cuda, name):
            patches.set(cuda, name, _nothing())
    for name, value in _CONSTANTS.items():
        patches.set(cuda, name, _constant(value))
    patches.set_many(
        cuda,
        get_device_properties=_constant(Properties()),
        memory_stats=lambda *args, **kwargs: {},
        Stream=Stream,
        Event=Event,
        current_stream=lambda device=None: Stream(),
        default_stream=lambda device=None: Stream(),
        stream=lambda stream: stream or Stream(),
        default_generators=(torch.default_generator,),
        initial_seed=torch.initial_seed,
        get_rng_state=lambda device="cuda": torch.default_generator.get_state(),
        get_rng_state_all=lambda: [torch.default_generator.get_state()],
        set_rng_state=lambda state, device="cuda": torch.default_generator.set_state(state),
        set_rng_state_all=lambda states: torch.default_generator.set_state(states[0]),
    )
    for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"):
        legacy = f"{kind}Tensor"
        patches.set(cuda, legacy, _legacy_type(legacy, getattr(torch, legacy).dtype))
    patches.set_many(
        accelerator,
        is_available=_constant(True),
        current_accelerator=_constant(torch.device("cuda")),
        device_count=_constant(1),
        current_device_index=_constant(0),
        current_device_idx=_constant(0),
        set_device_index=_nothing(),
        set_device_idx=_nothing(),
        current_stream=lambda device=None: Stream(),
        set_stream=_nothing(),
        synchronize=_nothing(),
    )
    patches.set(torch.backends.cuda, "is_built", _constant(True))
    patches.set_many(
        torch.backends.cudnn,
        is_available=_constant(True),
        version=_constant(91002),
        is_acceptable=_constant(False),  # weights need not be flattened: the kernels are the CPU's
    )
    autocast = torch.amp.autocast_mode.autocast
    patches.set(autocast, "__init__", _autocast(autocast.__init__))
