"""What the C library does with memory that a training step frees."""

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST = 1 << 30  # bytes; the C library takes no more as the second
_LARGE_BLOCK = 1 << 20  # bytes; activations are larger, what surrounds them is smaller


def keep_freed_memory() -> bool:
    """Keep freed memory in the process, for the next step to use; return whether that worked.

    By default glibc gives large blocks back to the system, and each step pays for getting them
    again, page by page: 8,000 to 16,000 page faults, 10 to 15% of the time of a step of 3,072
    tokens on a virtual machine. It holds for the rest of the process, and takes glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    set_option = ctypes.CDLL(None).mallopt
    return bool(set_option(_MMAP_THRESHOLD, _LARGEST) and set_option(_TRIM_THRESHOLD, _LARGEST))


def return_freed_memory() -> bool:
    """Give freed blocks of a megabyte or more back to the system at once; return whether it worked.

    For steps that compute activations again to save memory: in the C library's heap the holes that
    they leave are not filled, and the process grows as if nothing were freed (mm-rec-10m, 4 x 2048
    tokens, checkpointed forward pass: 950 MB instead of 80). Costs page faults, see above.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    return bool(ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE_BLOCK))
