"""Build the API reference from the docstrings: `python docs/api/build.py out/api`, or `make docs`.

One page a module, with search, readable offline. Names that a package imports on first use are
shown with it, and its modules below.
"""

import importlib
import pkgutil
import sys
from pathlib import Path

import pdoc

from ivme.models.quiet import quiet_libraries

PACKAGES = ("ivme", "mm_rec", "mm_rec_scan_cpu")


def show_modules(name: str) -> None:
    """Let pdoc see a package's modules and its lazy names; `__all__` hides the first from it."""
    package = importlib.import_module(name)
    modules = [one for one in pkgutil.iter_modules(package.__path__) if one.name[0] != "_"]
    public = getattr(package, "__all__", None)
    if public is not None:
        for lazy in public:
            setattr(package, lazy, getattr(package, lazy))
        package.__all__ = [*public, *(one.name for one in modules)]  # type: ignore[attr-defined]
    for one in modules:
        if one.ispkg:
            show_modules(f"{name}.{one.name}")


def main(folder: Path) -> None:
    """Write the reference of all packages into the folder."""
    with quiet_libraries():
        for name in PACKAGES:
            show_modules(name)
        pdoc.render.configure(docformat="google", show_source=False)
        pdoc.pdoc(*PACKAGES, output_directory=folder)
    pages = sum(1 for _ in folder.rglob("*.html"))
    print(f"wrote {pages} pages; open {folder / 'index.html'}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("name a folder: python docs/api/build.py out/api")
    main(Path(sys.argv[1]))
