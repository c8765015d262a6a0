"""The layout in which csrc/encoder multiplies by weights."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PANEL, GROUP = 16, 4  # columns that lie together, and depth of what one lane multiplies


def in_panels(weight: "NDArray[np.int8]") -> "NDArray[np.int8]":
    """Return weights [N, K] as [N / 16][K / 4][16][4], flat: what an instruction takes together."""
    import numpy as np

    rows, depth = weight.shape
    panels = weight.reshape(rows // PANEL, PANEL, depth // GROUP, GROUP)
    return np.ascontiguousarray(panels.transpose(0, 2, 1, 3)).reshape(-1)
