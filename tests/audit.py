"""Check the installed dependencies: python -m tests.audit reports conflicts, unpinned versions and licences."""

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
FREE = re.compile(r"MIT|BSD|Apache|PSF|Python|ISC|MPL|Mozilla|HPND|CNRI|Unlicense|Zlib|0BSD|CC0|Public Domain", re.I)
"""Licences that allow use and redistribution of a dependency; the MPL only applies to changes of its own files."""

INSTALLERS = ("pip", "setuptools", "wheel")
"""Packages that every virtual environment contains."""

REVIEWED = {"docutils": "public domain and BSD; what is GPL, a mode for Emacs, is not in the wheel"}
"""Distributions whose metadata name a licence of a part that is not installed, and what was found."""

COPYLEFT = re.compile(r"\bA?GPL|\bLGPL", re.I)


def dependencies(name: str, extras: set[str], seen: set[tuple[str, str]]) -> Iterator[str]:
    """A distribution's own requirements that are installed, and theirs, some more than once."""
    for line in metadata.requires(name) or []:
        requirement = Requirement(line)
        other = requirement.name.lower().replace("_", "-")
        wanted = not requirement.marker or any(requirement.marker.evaluate({"extra": e}) for e in {"", *extras})
        new = {(other, extra) for extra in {"", *requirement.extras}} - seen
        if not wanted or not new:
            continue
        try:
            metadata.version(other)
        except metadata.PackageNotFoundError:
            continue
        seen |= new
        yield other
        yield from dependencies(other, set(requirement.extras), seen)


def licence(name: str) -> str:
    """Licence in a distribution's metadata: the expression, the classifiers, or the first line of the text."""
    about = metadata.metadata(name)
    classifiers = [c.rpartition(" :: ")[2] for c in about.get_all("Classifier", []) if c.startswith("License ::")]
    stated = about.get("License-Expression") or ", ".join(classifiers) or about.get("License") or "not stated"
    return stated.strip().splitlines()[0]


def pins() -> dict[str, str]:
    """Versions of constraints.txt."""
    lines = [line.split("#")[0].split(";")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pairs = [line.split("==") for line in lines if "==" in line]
    return {name.strip().lower().replace("_", "-"): version.strip() for name, version in pairs}


def complaints(names: list[str]) -> Iterator[str]:
    """Problems of distributions: a version that is not the pinned one, or a licence that is not known to be free."""
    pinned = pins()
    for name in names:
        found, wanted = metadata.version(name), pinned.get(name)
        if wanted is None and name not in INSTALLERS:
            yield f"{name} {found} has no pin in constraints.txt"
        elif wanted and found.partition("+")[0] != wanted.partition("+")[0]:
            yield f"{name} is {found}, but constraints.txt says {wanted}"
        if name not in REVIEWED and (COPYLEFT.search(licence(name)) or not FREE.search(licence(name))):
            yield f"{name}: look at its licence, {licence(name)}"


def vulnerabilities() -> bool:
    """Whether pip-audit finds nothing; True, with a printed note, if it or its database is not available."""
    if find_spec("pip_audit") is None:
        print("known vulnerabilities: not checked, pip-audit is not installed")  # noqa: T201
        return True
    done = subprocess.run([sys.executable, "-m", "pip_audit", "--skip-editable"], capture_output=True, text=True)
    answered = done.returncode == 0 or "Found" in done.stderr
    print(done.stdout + done.stderr if answered else "known vulnerabilities: not checked, the database did not answer")  # noqa: T201
    return done.returncode == 0 or not answered


def main() -> int:
    """List and check the distributions, and print the problems; 1 if there are any."""
    names = sorted(set(dependencies("unrollflow", {"docs", "export", "hdf5"}, set())))
    for name in names:
        print(f"{name} {metadata.version(name)}: {licence(name)}")  # noqa: T201
    wrong = list(complaints(names))
    print("\n".join(wrong) or f"{len(names)} dependencies are pinned and free")  # noqa: T201
    fits = subprocess.run([sys.executable, "-m", "pip", "check"]).returncode == 0
    return 0 if vulnerabilities() and fits and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
