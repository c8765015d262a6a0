"""What every child needs, imported once in the process that children are forked from.

Nothing here computes: a process with threads of its own cannot be forked safely.
"""

import torch  # noqa: F401

from ivme.models.quiet import quiet_libraries

with quiet_libraries():
    import transformers.modeling_utils  # noqa: F401

    import mm_rec.training.trainer  # noqa: F401
