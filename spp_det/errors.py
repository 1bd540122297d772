"""What a user did wrong, as one line. Everything else that is raised is a fault of ours and keeps its traceback."""

from __future__ import annotations

from os import PathLike


class SppDetError(Exception):
    """A fault that the user can mend: the tools print its one line and exit with code 1."""


class ConfigError(SppDetError):
    """A configuration that names an unknown key, a value of the wrong type, or parts that do not fit each other."""


class WeightsError(SppDetError):
    """A weight file that is missing, unreadable or of the wrong shapes."""


class DataError(SppDetError):
    """A file of a data set (image, annotation, split, boxes) that is missing or broken.

    Its text starts with the file's path. `--skip-bad-images` goes on after one of these and lists them at the end.
    """

    def __init__(self, path: str | PathLike[str], fault: str) -> None:
        super().__init__(f"{path}: {fault}")
        self.path = str(path)
        self.fault = fault

    def __reduce__(self) -> tuple[type[DataError], tuple[str, str]]:  # crosses process borders whole
        return type(self), (self.path, self.fault)
