"""Folders that hold one thing: written whole by one writer at a time, and only over what such a writer left.

The file that seals a folder is written last and holds the SHA-256 of every other, so that what an interrupted writer
leaves, or a file of another one among these, is refused by name by who reads.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..quant.files import alone, create, leftovers
from ..quant.graph.errors import ConfigurationError, DataError

LOCK, STAGING = ".systolith-lock", ".systolith-new"


@dataclass(frozen=True)
class WholeFolder:
    """A kind of folder.

    what : one word for it in messages
    names : all files that one may hold;  seal : the one among them that is written last
    later : files that others put into a folder that is there, which end with it
    """

    what: str
    names: tuple[str, ...]
    seal: str
    later: tuple[str, ...] = ()

    def check(self, output: Path) -> Path:
        """The folder that ``output`` leads to, to be made or to be written again.

        Raises ConfigurationError if it is a file, or holds what no such folder does, DataError if it is not writable.
        """
        folder = Path(os.path.realpath(output))
        if not os.path.lexists(folder):
            if not folder.parent.is_dir():
                raise DataError(f"cannot write '{output}': there is no folder '{folder.parent}'; make it first")
            if not os.access(folder.parent, os.W_OK):
                raise DataError(f"cannot write '{output}': '{folder.parent}' is not writable")
            return folder
        if not folder.is_dir():
            raise ConfigurationError(f"{output} is a file; give a folder for the {self.what}")
        if not os.access(folder, os.W_OK):
            raise DataError(f"cannot write '{output}': it is not writable")
        self._refuse_strangers(output, folder, {*self.names, *self._of_others(folder), LOCK, STAGING})
        with suppress(FileNotFoundError):  # another writer may just have ended
            self._refuse_strangers(output / STAGING, folder / STAGING, set(self.names))
        return folder

    def _refuse_strangers(self, output: Path, folder: Path, ours: set[str]) -> None:
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            right = entry.is_dir if entry.name == STAGING else entry.is_file
            if entry.name not in ours or not right(follow_symlinks=False):
                raise ConfigurationError(
                    f"{output} holds '{entry.name}', which is no part of a {self.what}; give an empty or new folder"
                )

    def _of_others(self, folder: Path) -> list[str]:
        """Names of what others write, and of what one leaves that was killed while it did."""
        left = [path.name for name in self.later for path in leftovers(folder / name)]
        return [*self.later, *left]

    def write(self, output: Path, contents: Mapping[str, bytes], seal: bytes) -> None:
        """Put ``contents`` by name, and the seal, into ``output``, in place of what an earlier writer put there.

        All are written before the first one is replaced, and the seal last.  What a writer leaves that is killed in
        between every reader refuses, and the next writer clears.  Raises what check raises.
        """
        folder = self.check(output)
        made = not folder.exists()
        try:
            folder.mkdir(exist_ok=True)
            with alone(folder / LOCK):
                self.check(output)
                staging = folder / STAGING
                self._clear(staging)
                staging.mkdir()
                try:
                    for name, data in (*contents.items(), (self.seal, seal)):
                        create(staging / name, data)
                    for name in contents:
                        (staging / name).replace(folder / name)
                    gone = set(self.names) - set(contents) - {self.seal}
                    for name in (*sorted(gone), *self._of_others(folder)):
                        (folder / name).unlink(missing_ok=True)
                    (staging / self.seal).replace(folder / self.seal)
                finally:
                    self._clear(staging)
        except OSError as error:
            raise DataError(f"cannot write '{output}': {error.strerror or error}") from error
        finally:
            if made:
                with suppress(OSError):
                    folder.rmdir()  # it is empty if nothing could be written

    def _clear(self, staging: Path) -> None:
        if staging.is_dir():
            for name in self.names:
                (staging / name).unlink(missing_ok=True)
            staging.rmdir()
