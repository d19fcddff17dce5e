"""Random integers that are equal on every machine and in any order, from the words of a Philox counter."""

import hashlib

import numpy as np
from jaxtyping import Int64, UInt64


def key_of(name: str) -> UInt64[np.ndarray, "2"]:
    """Hash the name of a data set, which includes everything its scenes depend on, to the key of its random words.

    Returns:
        Two random words.

    >>> key_of("emorl.data.generate.tetrominoes/1/0/train").dtype
    dtype('uint64')
    """
    digest = hashlib.sha256(name.encode()).digest()
    return np.frombuffer(digest, dtype="<u8", count=2).astype(np.uint64)


def words_of(key: UInt64[np.ndarray, "2"], index: int) -> np.random.Philox:
    """Return the stream of random words of the scene `index`.

    >>> key = key_of("name")
    >>> bool((words_of(key, 7).random_raw(3) == words_of(key, 7).random_raw(3)).all())
    True
    """
    return np.random.Philox(key=key, counter=np.array([0, index, 0, 0], dtype=np.uint64))


def below(
    words: UInt64[np.ndarray, "*shape"], bound: int | UInt64[np.ndarray, "*shape"]
) -> Int64[np.ndarray, "*shape"]:
    """Scale 64 random bits to integers from 0 to the bound, exclusive.

    Returns:
        Integers from 0 to ``bound`` - 1.

    >>> below(np.array([0, 2**63, 2**64 - 1], dtype=np.uint64), 10)
    array([0, 5, 9])
    """
    return ((words >> np.uint64(32)) * np.uint64(bound) >> np.uint64(32)).astype(np.int64)
