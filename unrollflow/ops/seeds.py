"""Seeds of random draws that do not depend on how a batch is split over processes."""

import hashlib


def derived_seed(*source: int | str) -> int:
    """Seed from 0 to 2**32 - 1, computed from integers and strings; different sources give independent seeds.

    NumPy's SeedSequence is not used, because it treats (1,) and (1, 0), and (2**32,) and (0, 1), as equal.

    >>> derived_seed(0, 7, "image_2/000000_03") == derived_seed(0, 7, "image_2/000000_03")
    True
    >>> derived_seed(1) == derived_seed(1, 0)
    False
    """
    text = repr([part if isinstance(part, str) else int(part) for part in source])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
