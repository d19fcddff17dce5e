"""Random integers that are the same on every machine and in any order, from the words of a Philox counter."""

import hashlib

import numpy as np
from jaxtyping import Int64, UInt64


def key_of(name: str) -> UInt64[np.ndarray, "2"]:
    """Turn the name of a data set, with all that its scenes depend on, into the key of its random words."""
    digest = hashlib.sha256(name.encode()).digest()
    return np.frombuffer(digest, dtype="<u8", count=2).astype(np.uint64)


def words_of(key: UInt64[np.ndarray, "2"], index: int) -> np.random.Philox:
    """Return the stream of random words of the scene `index`."""
    return np.random.Philox(key=key, counter=np.array([0, index, 0, 0], dtype=np.uint64))


def below(
    words: UInt64[np.ndarray, "*shape"], bound: int | UInt64[np.ndarray, "*shape"]
) -> Int64[np.ndarray, "*shape"]:
    """Scale 64 random bits to an integer below the bound."""
    return ((words >> np.uint64(32)) * np.uint64(bound) >> np.uint64(32)).astype(np.int64)
