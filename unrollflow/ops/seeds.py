"""Seeds of random draws that depend on what is drawn for alone, not on how a batch is split over processes."""

import hashlib


def derived_seed(*source: int | str) -> int:
    """A seed in 0 to 2**32 - 1 from integers and words; different sources give unrelated seeds.

    NumPy's SeedSequence is not used: it takes (1,) and (1, 0), and (2**32,) and (0, 1), for the same source.

    >>> derived_seed(0, 7, "image_2/000000_03") == derived_seed(0, 7, "image_2/000000_03")
    True
    >>> derived_seed(1) == derived_seed(1, 0)
    False
    """
    text = repr([part if isinstance(part, str) else int(part) for part in source])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
