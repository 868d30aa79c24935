"""Checks of the flow files 09: values read, and bytes written."""

from pathlib import Path

from tests.parity.conftest import Fixture


def check_flo(path: Path) -> None: ...
def check_kitti_png(path: Path) -> None: ...
def check_flow_files(fixture: Fixture) -> None: ...
