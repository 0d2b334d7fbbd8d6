"""The page as a hosted Space: one queue for all visitors, and limits that keep it fair."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "src"))  # the Space holds the package's source beside this file


def main() -> None:
    """Serve until the Space is stopped."""
    from zero123.ui.desk import Limits
    from zero123.ui.serving import serve

    limits = Limits(view_s=120, orbit_s=300, mesh_s=600, upload=10_000_000, waiting=20, frames=48)
    with serve("0.0.0.0", int(os.environ.get("PORT", "7860")), limits=limits) as page:
        print(page.address, flush=True)
        while True:
            time.sleep(3600)


if __name__ == "__main__":  # the page's worker processes import this file too
    main()
