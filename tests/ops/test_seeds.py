from unrollflow.ops.seeds import derived_seed


def test_every_part_of_the_source_counts() -> None:
    seeds = {derived_seed(*source) for source in [(0, 1, "a"), (1, 1, "a"), (0, 2, "a"), (0, 1, "b"), (1, 0, "a")]}
    assert len(seeds) == 5


def test_length_and_magnitude_of_the_source_count() -> None:
    assert derived_seed(1) != derived_seed(1, 0)
    assert derived_seed(2**32) != derived_seed(0, 1)  # 2**32 is two 32-bit words, 0 and 1
    assert derived_seed("1") != derived_seed(1)
    assert derived_seed("a", "b") != derived_seed("a', 'b")


def test_large_seeds_are_taken() -> None:
    assert 0 <= derived_seed(2**64 - 1, "frame") < 2**32
