"""Errors of the operating system in one line: what failed, where, and what to do about it."""

import errno
import sqlite3

REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space, then go on with bdn resume or try again",
    errno.EDQUOT: "your disk quota is used up; free some space, then try again",
    errno.EFBIG: "the file would be larger than is allowed; raise the limit (ulimit -f)",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine; end other programs",
    errno.EACCES: "permission denied; check the permissions, or name another place",
    errno.EPERM: "the system does not permit it; check the permissions, or name another place",
    errno.EROFS: "the file system is read-only; name another place",
    errno.ENOENT: "there is no such file or folder",
    errno.EISDIR: "it is a folder, and a file is needed",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EEXIST: "it exists already",
    errno.ELOOP: "its symbolic links lead in a circle",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.EIO: "the disk failed to read or write",
    errno.ENOMEM: "there is not enough memory",
}


def explain_os_error(error: OSError) -> str:
    """``error`` in one line."""
    what = REMEDIES.get(error.errno or 0) or error.strerror or str(error) or type(error).__name__
    places = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return f"{' → '.join(places)}: {what}" if places else what


def explain_sqlite_error(error: sqlite3.Error) -> str:
    """``error`` in one line; the stores' own errors name their files, this is for what is left."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith("SQLITE_FULL"):
        return f"a database: {REMEDIES[errno.ENOSPC]}"
    return f"a database of the run folder cannot be read or written ({error})"
