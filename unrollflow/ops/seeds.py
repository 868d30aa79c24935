"""Seeds of random draws that depend on what is drawn for alone, not on how a batch is split over processes."""

import zlib

import numpy as np


def derived_seed(*source: int | str) -> int:
    """One seed of whole numbers of at least 0 and words; another source gives an unrelated one.

    >>> derived_seed(0, 7, "image_2/000000_03") == derived_seed(0, 7, "image_2/000000_03")
    True
    """
    numbers = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in source]
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
