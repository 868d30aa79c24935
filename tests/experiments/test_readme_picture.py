from pathlib import Path

import cv2

from experiments.readme_picture import main


def test_the_picture_shows_a_row_of_tiles(tmp_path: Path) -> None:
    main(tmp_path / "picture.png", reduction=8)
    picture = cv2.imread(str(tmp_path / "picture.png"))
    assert picture.shape[1] > 4 * picture.shape[0]
    assert picture.std() > 10
