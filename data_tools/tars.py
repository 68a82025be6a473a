"""A .tar read in bounded memory: `tarfile` reads long names and other extended headers whole, and
keeps every member it has met; a small archive may hold gigabytes of either.
"""

import tarfile
from collections.abc import Iterator

_LONGEST_HEADER = 2**20
_USUAL_HEADER = 2**12  # a long path; so much for every member, and in sum as much as this besides:
_MOST_HEADERS = 2**23
_EXTENDED = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip


class BoundedInfo(tarfile.TarInfo):
    """A .tar's member whose name and the like are bounded."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "BoundedInfo":
        """As `tarfile` has it; refuses what is too long."""
        info = super().frombuf(buf, encoding, errors)
        if info.type in _EXTENDED and info.size > _LONGEST_HEADER:
            raise tarfile.ReadError(f"a member's header of {info.size / 2**20:,.0f} MiB")
        return info

    def _block(self, count: int) -> int:
        """As `tarfile` has it; sizes below zero, in whichever header, would lead back for ever."""
        if count < 0:
            raise tarfile.ReadError("a member of a size below zero")
        return super()._block(count)  # type: ignore[misc]

    def _proc_member(self, archive: "BoundedTar") -> tarfile.TarInfo:
        """As `tarfile` has it, which means it to be overridden; it reads what follows a header."""
        archive.count(self)
        return super()._proc_member(archive)  # type: ignore[misc]


class BoundedTar(tarfile.TarFile):
    """A .tar whose members' names and the like are bounded one by one and in their sum."""

    tarinfo = BoundedInfo
    _members, _headers, _shared = 0, 0, 0

    def count(self, info: tarfile.TarInfo) -> None:
        """Counts a header in.

        Raises:
            tarfile.ReadError: they are more than so many members need.
        """
        self._headers += self._shared  # of which every member gets a copy
        if info.type in _EXTENDED:
            self._headers += info.size
            self._shared += info.size * (info.type == tarfile.XGLTYPE)
        else:
            self._members += 1
        if self._headers > _MOST_HEADERS + _USUAL_HEADER * self._members:
            size = f"{self._headers / 2**20:,.0f} MiB"
            raise tarfile.ReadError(f"headers of {size} before its member {self._members + 1:,}")


def each_member(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Its members one by one, none held: `tarfile` would keep them all, their headers too.

    Raises:
        tarfile.ReadError: damaged. A spoilt header looks like the end to `tarfile`; the true end is
            empty or zeros.
    """
    while member := archive.next():
        archive.members.clear()  # type: ignore[attr-defined]
        yield member
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    if any(archive.fileobj.read(tarfile.BLOCKSIZE)):
        raise tarfile.ReadError("a member's header is spoilt")
