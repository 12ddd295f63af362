"""A memo: bytes that the supervisor keeps in memory and its children read, whoever cleans up files.

It has a descriptor, and no name that anybody could remove. A child inherits it, or is sent it.
"""

import os


def write_memo(name: str, content: bytes) -> int:
    """Return the descriptor of a memo of `content`; `name` shows where descriptors are listed.

    Raises:
        OSError: there is no memory or no descriptor for it.
    """
    fd = os.memfd_create(f"relay-{name}")
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(fd, rest) :]
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_memo(fd: int) -> bytes:
    """Return all that the memo holds; whoever else has it is not disturbed."""
    size = os.fstat(fd).st_size
    chunks: list[bytes] = []
    read = 0
    while read < size:
        chunk = os.pread(fd, size - read, read)
        if not chunk:
            raise ValueError(f"memo of {size} bytes ends after {read}")
        chunks.append(chunk)
        read += len(chunk)
    return b"".join(chunks)
