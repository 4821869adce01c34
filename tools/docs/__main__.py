"""Write the documents of docs/ that follow from the code.

python -m tools.docs             write layers.md, commands.md and python.md
python -m tools.docs --check     write nothing; exit with 1 if a file is not what would be written
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tools.docs import commands, layers, python

FOLDER: Final = Path(__file__).parents[2] / "docs"
DOCUMENTS: Final[dict[str, Callable[[], str]]] = {
    "layers.md": layers.document,
    "commands.md": commands.document,
    "python.md": python.document,
}


def main(arguments: list[str] | None = None) -> int:
    """Write or compare the files; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file is not current")
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, help="another folder than docs")
    options = parser.parse_args(arguments)
    texts = {options.folder / name: document() for name, document in DOCUMENTS.items()}
    old = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if options.check:
        for path in old:
            print(f"{path} is not current: run python -m tools.docs")
        return 1 if old else 0
    options.folder.mkdir(parents=True, exist_ok=True)
    for path in old:
        path.write_text(texts[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
