"""The files of a frontend that is served beside the API, from one folder and nowhere else."""

from __future__ import annotations

from pathlib import Path

from service.errors import BadRequest

START_PAGE = "index.html"


class Folder:
    """The folder of FRONTEND_DIR. Raises BadRequest when there is none."""

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise BadRequest(f"FRONTEND_DIR={str(path)!r} is not a folder.")
        self.root = path.resolve()

    def find(self, path: str) -> str | None:
        """The file, relative to `root`, that a URL path without its first slash names; that of a folder is its
        index.html. None for everything else, hidden files and links that leave the folder among it."""
        name = path + START_PAGE if not path or path.endswith("/") else path
        if not _is_plain(name):
            return None
        try:
            file = (self.root / name).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):  # not there, no name for a file, links in a circle
            return None
        if not file.is_relative_to(self.root) or not file.is_file():
            return None
        found = file.relative_to(self.root).as_posix()
        return found if _is_plain(found) else None

    def etag(self, name: str) -> str:
        """What changes with the file, in quotes."""
        facts = (self.root / name).stat()
        return f'"{facts.st_ino:x}-{facts.st_mtime_ns:x}-{facts.st_size:x}"'


def _is_plain(name: str) -> bool:
    """Whether no part of a relative path is hidden, or leads up, or nowhere."""
    return all(part and not part.startswith(".") for part in name.split("/"))
