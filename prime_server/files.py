"""A work function that answers GET and HEAD with the files below a directory.

A request's path is resolved with all its `..` and symbolic links first; what doesn't lie below the root then is as if it weren't there. The
resolved path is opened part by part from the root's descriptor without following links, so a link that is put in its way meanwhile leads
nowhere either. A directory is answered with its index.html. A big file leaves in blocks, with the length that it had when it was opened: if it is cut
short meanwhile, so is the answer, and what is added to it comes with the next one.
"""

import errno
import mimetypes
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from prime_server._ext.response import Response

__all__ = ["Files"]

# The stdlib's own table: what the machine has in /etc/mime.types doesn't change an answer.
_TYPES = mimetypes.MimeTypes()
_COMPRESSED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
_REFUSED = {errno.EACCES: 403, errno.EPERM: 403, errno.EMFILE: 503, errno.ENFILE: 503, errno.EIO: 500}
_BLOCK = 256 * 1024
_WHOLE_UP_TO = 1024 * 1024
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Files:
    """Serves what lies below `root`. Raises `NotADirectoryError` when that is no directory."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = os.path.realpath(root, strict=True)
        if not os.path.isdir(self._root):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(root))

    def __call__(self, job: Any) -> Response:
        request = job.request
        if request.method not in ("GET", "HEAD"):
            return _refuse(405, "only GET and HEAD are answered here", [("Allow", "GET, HEAD")])
        if "\0" in request.path:
            return _refuse(400, "a path has no NUL bytes")
        try:
            name, file = self.open(request.path)
            size = os.fstat(file.fileno()).st_size
            body = Blocks(file, size) if size > _WHOLE_UP_TO else _whole(file)
        except OSError as error:
            status = _REFUSED.get(error.errno or 0, 404)
            return _refuse(status, "there is no such file" if status == 404 else "this file cannot be read")
        except ValueError:  # characters that no file name can have
            return _refuse(404, "there is no such file")
        return Response(200, body, content_type=content_type(name), length=None if isinstance(body, bytes) else size)

    def open(self, path: str) -> tuple[str, BinaryIO]:
        """The name of the file that the decoded `path` of a target stands for, and itself. Raises `OSError`, whatever lies outside as not found."""
        name = os.path.basename(path)
        real = os.path.realpath(os.path.join(self._root, path.lstrip("/")), strict=True)
        if os.path.isdir(real):
            name = "index.html"
            real = os.path.realpath(os.path.join(real, name), strict=True)
        elif path.endswith("/"):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        if os.path.commonpath([self._root, real]) != self._root:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        descriptor = self._open(Path(real).relative_to(self._root).parts)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return name, os.fdopen(descriptor, "rb", buffering=0)

    def _open(self, parts: tuple[str, ...]) -> int:
        directory = os.open(self._root, _FLAGS | os.O_DIRECTORY)
        for part in parts[:-1]:
            try:
                inner = os.open(part, _FLAGS | os.O_DIRECTORY, dir_fd=directory)
            finally:
                os.close(directory)
            directory = inner
        try:
            # Not blocking, as a named pipe without a writer would be waited for.
            return os.open(parts[-1], _FLAGS | os.O_NONBLOCK, dir_fd=directory)
        finally:
            os.close(directory)


def _whole(file: BinaryIO) -> bytes:
    with file:
        return file.read()


class Blocks:
    """What the file had when it was opened. Closed it is by whoever sends it, be all of it read or nothing."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block = self._file.read(min(self._left, _BLOCK))
        if not block:
            raise StopIteration
        self._left -= len(block)
        return block

    def close(self) -> None:
        self._file.close()


def content_type(name: str) -> str:
    """A file's MIME type by the ending of its name; a compressed file is what it is compressed with."""
    kind, encoding = _TYPES.guess_type(name)
    if encoding is not None:
        return _COMPRESSED.get(encoding, "application/octet-stream")
    return kind or "application/octet-stream"


def _refuse(status: int, why: str, headers: list[tuple[str, str]] | None = None) -> Response:
    return Response(status, why + "\n", headers=headers or (), content_type="text/plain; charset=utf-8")
