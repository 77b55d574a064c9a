"""The facts about a machine that decide about bits: two that differ in them may give other weights."""

import os
import platform
from pathlib import Path
from typing import Any

#: Instruction sets that numerical libraries choose their kernels by.
_FEATURES = ("avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_bf16", "amx_bf16", "asimd", "sve")

#: Environment variables that change thread counts or kernels.
_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "MKL_CBWR",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
)


def machine_facts() -> dict[str, Any]:
    """Describe interpreter, operating system, processor and torch as plain data. Imports torch."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "release": platform.release(),
        "libc": " ".join(platform.libc_ver()).strip() or None,
        "machine": platform.machine(),
        "processor": _processor(),
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "torch": _torch(),
    }


def slow_in_bfloat16() -> bool:
    """Say whether the processor is one that has to compute bfloat16 in float32 (x86 without AVX-512 BF16 and AMX)."""
    features = {*_processor()["features"]}
    return "avx" in features and not features & {"avx512_bf16", "amx_bf16"}


def _processor() -> dict[str, Any]:
    lines = _first_processor()
    flags = set((lines.get("flags") or lines.get("Features") or "").split())
    return {
        "model": lines.get("model name") or platform.processor() or None,
        "cores": os.cpu_count(),
        "features": [feature for feature in _FEATURES if feature in flags],
    }


def _first_processor() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _torch() -> dict[str, Any]:
    import torch

    return {
        "version": torch.__version__,
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "mkl": torch.backends.mkl.is_available(),  # type: ignore[no-untyped-call]
        "mkldnn": torch.backends.mkldnn.is_available(),  # type: ignore[no-untyped-call]
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "cuda": torch.version.cuda,
        "devices": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
    }
