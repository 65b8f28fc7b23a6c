"""Where models learn: on this process's GPU where there is one, and so that the same input gives the same bits again."""

import contextlib
import os
import warnings
from collections.abc import Iterator

import torch


def learning_device() -> torch.device:
    """The GPU, of several on this machine the one numbered as this process (``LOCAL_RANK`` of torchrun); else the CPU.

    ``CUDA_VISIBLE_DEVICES=""`` keeps a process on the CPU.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


def process_backend() -> str:
    """How the processes on this machine add up gradients: ``nccl`` where each has a GPU of its own, else ``gloo``."""
    own = torch.cuda.device_count() >= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return "nccl" if torch.cuda.is_available() and own else "gloo"


@contextlib.contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Sums on a GPU in one order, within; a process's first product of matrices on a GPU must be within one of these.

    Random numbers that are drawn within leave the process's generators as they were.
    """
    if device.type != "cuda":
        with torch.random.fork_rng(devices=[]):
            yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the process multiplies for the first time
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.random.fork_rng(devices=[device]), warnings.catch_warnings():
            # of cumulative sums over a slate's positions, which one thread adds
            warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation.*")
            yield
    finally:
        torch.use_deterministic_algorithms(before)
