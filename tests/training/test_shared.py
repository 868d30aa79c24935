import copy
import threading
from functools import partial

from unrollflow.training.shared import Shared


def test_a_copy_shares_the_function() -> None:
    lock = threading.Lock()  # cannot be copied, like a trainer that has started other processes
    shared = Shared(partial(lambda lock, x: x + 1, lock))
    copied = copy.deepcopy({"factory": shared})
    assert copied["factory"] is shared
    assert copied["factory"](1) == 2
