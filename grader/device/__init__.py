"""A GPU that is not there: a simulated CUDA device for machines without one.

Tensors and kernels stay ordinary CPU ones; which device a tensor lies on is an attribute of its storage. A
dispatch mode carries it from operands to results and refuses the mixtures that CUDA refuses, in CUDA's words
(`messages` has the table); `torch.Tensor`, `torch.cuda` and their neighbours are patched to say what they
would say. A correct job computes bit for bit what it computes on the CPU.

Importing this imports torch; nothing changes before `install` or `simulated_accelerator` is called.
"""

from .simulation import install, simulated_accelerator, without_own_frames
from .tags import is_accelerated

__all__ = ["install", "is_accelerated", "simulated_accelerator", "without_own_frames"]
