"""A seeded permutation of any range, one element at a time: nothing is ever shuffled in memory.

A Feistel network permutes the numbers of an even count of bits; numbers that land outside of the
range go through it again until they are inside (cycle walking), at most four times on average.
Source: Black and Rogaway, Ciphers with Arbitrary Finite Domains (2002).
"""

import numpy as np

ROUNDS = 6


def permute(positions: np.ndarray, size: int, keys: np.ndarray) -> np.ndarray:
    """Return where each position goes in its key's permutation of range(size).

    positions, keys: [N] of uint64, positions below `size`.
    """
    half_bits = np.uint64(max(1, (size - 1).bit_length() + 1 >> 1))
    moved = _feistel(positions, half_bits, keys)
    while (outside := moved >= np.uint64(size)).any():
        moved[outside] = _feistel(moved[outside], half_bits, keys[outside])
    return moved


def mix(numbers: np.ndarray | np.uint64) -> np.ndarray:
    """Return 64 well-mixed bits for each number, [N] of uint64.

    Source: the finalizer of SplitMix64, in Steele, Lea and Flood, Fast Splittable Pseudorandom
    Number Generators (2014).
    """
    z = np.atleast_1d(numbers) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _feistel(numbers: np.ndarray, half_bits: np.uint64, keys: np.ndarray) -> np.ndarray:
    """Return each number's image under a permutation of the numbers of 2 half_bits bits."""
    mask = (np.uint64(1) << half_bits) - np.uint64(1)
    left, right = numbers >> half_bits, numbers & mask
    for number in range(ROUNDS):
        left, right = right, left ^ (mix(right ^ mix(keys + np.uint64(number))) & mask)
    return left << half_bits | right
