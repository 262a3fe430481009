"""Which number format the networks compute in."""
from contextlib import nullcontext

import torch


def fast_bfloat16():
    """Whether this processor multiplies bfloat16 itself; others emulate it, sixty times slower than float32."""
    return torch.cpu._is_avx512_bf16_supported()


def mixed():
    """Mixed precision where it is faster, float32 elsewhere."""
    return torch.autocast("cpu", torch.bfloat16) if fast_bfloat16() else nullcontext()
