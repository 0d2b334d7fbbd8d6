"""Files that cannot grow, as on a full disk, made so by the system itself."""

from contextlib import contextmanager

import pytest


@contextmanager
def files_of_at_most(size):
    """No file of this process grows over `size` bytes while the block runs; the system refuses with EFBIG."""
    resource = pytest.importorskip("resource", reason="this system does not limit the size of files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
