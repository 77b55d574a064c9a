"""Which folders are on a file system that several machines use."""

import re
from pathlib import Path

#: File systems on which SQLite's WAL mode is not safe: it needs memory that all processes share.
NETWORK = re.compile(r"nfs4?|cifs|smb3?|smbfs|9p|afs|ceph|glusterfs|lustre|gpfs|beegfs|virtiofs|fuse\.(?!snapfuse)\S+")

_MOUNTS = Path("/proc/self/mountinfo")


def network_file_system(folder: Path, mountinfo: str | None = None) -> str | None:
    """Return the name of the network file system that a folder is on; None: it is on none, or that is not known.

    Args:
        folder: the folder, absolute and without links.
        mountinfo: the text of /proc/self/mountinfo (proc(5)).
    """
    if mountinfo is None:
        try:
            mountinfo = _MOUNTS.read_text(errors="surrogateescape")
        except OSError:
            return None
    best, kind = Path(), ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        point = Path(re.sub(r"\\(\d{3})", lambda it: chr(int(it[1], 8)), left.split()[4]))
        # The last of several mounts at one point is what is seen.
        if folder.is_relative_to(point) and len(point.parts) >= len(best.parts):
            best, kind = point, right.split()[0]
    return kind if NETWORK.fullmatch(kind) else None
