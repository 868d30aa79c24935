"""Phrases that are not plain English: python -m tests.wording lists where they are used, and fails if there are any.

Checked are Markdown pages, comments of YAML files, and comments and strings of all Python files that are
not tests.
"""

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

INSTEAD = {
    r"(?<!there )\b(is|are|was|were|be) no\b(?! (longer|more|less))": "is not a",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\b(leave|leaves|left|leaving)( \S+)? (away|out)\b": "omit",
    r"\bcut off\b": "truncated",
    r"\bhardly\b": "only slightly",
    r"\bin silence\b": "silently",
    r"\bas far as\b": "state the limit",
    r"\bso (many|few)\b": "as many as that; state the number",
    r"\btold\b": "reported, printed, receives",
    r"\bnought\b|\bwhence\b|\bthereof\b|\blikewise\b": "a plain word",
    r"\bmakes? no batch\b": "cannot be batched",
    r"\bgoes? on (bit|in the middle)\b": "resume",
    r"\bbit for bit\b": "bit-exact",
    r"\bforgives?\b": "tolerates",
    r"\btaught by\b": "trained with",
}
"""Regular expressions, and what to write in their place."""

NOT_CHECKED = ("docs/faults.md", "tests/")
"""Generated text, and tests."""


def comments(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every comment and string of a Python file."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)):
            yield from enumerate(token.string.splitlines(), token.start[0])


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of what is prose in a file."""
    if path.suffix == ".py":
        yield from comments(path)
    else:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            yield number, line if path.suffix == ".md" else line.partition("#")[2]


def found(path: Path) -> Iterator[str]:
    """Each use of a phrase in a file, with what to write instead."""
    for number, line in lines(path):
        for phrase, instead in INSTEAD.items():
            if use := re.search(phrase, line, re.IGNORECASE):
                yield f"{path.relative_to(ROOT)}:{number}: {use[0]!r}; instead: {instead}"


def main() -> int:
    """Print every use in the files that git knows; 1 if there are any."""
    listed = subprocess.run(
        ["git", "ls-files", "*.md", "*.yaml", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = [name for name in listed.stdout.splitlines() if not name.startswith(NOT_CHECKED)]
    uses = [use for name in names for use in found(ROOT / name)]
    print("\n".join(uses) or f"{len(names)} files: no phrase to replace")  # noqa: T201
    return 1 if uses else 0


if __name__ == "__main__":
    sys.exit(main())
