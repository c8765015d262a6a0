"""The kernels of MM-Rec as torch ops, one folder an op.

Each folder has `reference.py` (plain PyTorch, the truth), `cpu.py` (the compiled extension) and
`triton.py` (for GPUs), all with the same two functions `forward` and `backward`; its package
registers them as one torch op with a gradient. `dispatch.py` says which one runs.
"""
