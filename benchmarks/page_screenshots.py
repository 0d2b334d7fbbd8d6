"""Open the web page in Chromium, use every tab, keep its pictures, and measure the first page and the first view.

    python benchmarks/page_screenshots.py -o docs/pictures

Needs the extra `ui`, playwright and Chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from gradio_client import Client, handle_file
from playwright.sync_api import Page, sync_playwright

from zero123.ui.controls import examples
from zero123.ui.serving import serve

ARGUMENTS = ("--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync")


def main() -> None:
    """Serve, use, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=Path("out/page"))
    parser.add_argument("--picture", default="honey-pot", help="name of an example picture")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    picture = next(file for file in examples() if file.stem == options.picture)
    start = time.monotonic()
    with serve(port=0) as served, sync_playwright() as play:
        address = served.address
        up = time.monotonic() - start
        warm(address, picture)
        browser = play.chromium.launch(executable_path=options.chromium, args=list(ARGUMENTS))
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        measured = {"server_up_s": up, **first(page, address, picture), "load": os.getloadavg()[0]}
        print(json.dumps({key: round(value, 2) for key, value in measured.items()}))
        tour(page, options.out)
        page.close()
        for scheme in ("light", "dark"):
            phone(browser, address, picture, options.out / f"ui-phone-{scheme}.png")
        browser.close()


def warm(address: str, picture: Path) -> None:
    """Wait until the model is loaded, as it is some seconds after the page is up."""
    client = Client(address, verbose=False, analytics_enabled=False, httpx_kwargs={"timeout": 120})
    client.predict(handle_file(picture), -60, 0, 0, "mini", 1, 1, 0, 1, "auto", api_name="/view")


def first(page: Page, address: str, picture: Path) -> dict[str, float]:
    """Seconds to the first page and from a picture to its first view."""
    start = time.monotonic()
    page.goto(address)
    page.wait_for_selector("#plot canvas")
    shown = time.monotonic() - start
    page.wait_for_timeout(800)
    start = time.monotonic()
    page.locator("#picture input[type=file]").set_input_files(picture)
    page.wait_for_selector("#result img", timeout=120_000)
    return {"first_page_s": shown, "first_view_s": time.monotonic() - start}


def tour(page: Page, out: Path) -> None:
    """Every tab, light and dark."""
    page.get_by_role("tab", name="Orbit").click()
    page.click("#make-orbit")
    page.wait_for_selector("#orbit-video video", state="attached", timeout=300_000)
    page.get_by_role("tab", name="3D").click()
    page.click("#make-mesh")
    page.wait_for_selector("#mesh canvas", timeout=600_000)
    page.wait_for_timeout(4000)
    page.get_by_role("tab", name="Compare").click()
    side = page.locator("#side-B").locator("xpath=..")
    side.locator("input[type=number]").first.fill("12")
    page.click("#draw-both")
    page.wait_for_selector("#side-A img", timeout=60_000)
    page.wait_for_selector("#side-B img", timeout=60_000)
    page.get_by_role("tab", name="View").click()
    for preset in ("Left", "Behind", "Above"):
        page.get_by_role("button", name=preset, exact=True).click()
        page.wait_for_timeout(3000)
    page.locator("input[aria-label^='number input for Azimuth']").fill("60")
    page.locator("input[aria-label^='number input for Elevation, degrees up (']").fill("20")
    page.wait_for_timeout(3000)
    for theme in ("light", "dark"):
        for name in ("View", "Orbit", "3D", "Compare", "History", "Models"):
            page.get_by_role("tab", name=name).click()
            page.wait_for_timeout(1500)
            page.evaluate("scrollTo(0, 0)")
            shoot(page, out / f"ui-{name.lower()}{'-dark' * (theme == 'dark')}.png")
        page.click("#theme")
        page.wait_for_timeout(500)


def phone(browser: Any, address: str, picture: Path, file: Path) -> None:
    """The page on a phone, as its system's theme has it."""
    scheme = file.stem.rpartition("-")[2]
    page = browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True, color_scheme=scheme)
    page.goto(address)
    page.wait_for_selector("#plot canvas")
    page.locator("#picture input[type=file]").set_input_files(picture)
    page.wait_for_selector("#result img", timeout=60_000)
    page.wait_for_timeout(1500)
    shoot(page, file, whole=True)
    page.close()


def shoot(page: Page, file: Path, whole: bool = False) -> None:
    """A picture of the page, in a palette, which keeps it small."""
    from PIL import Image

    page.screenshot(path=file, full_page=whole)
    print(file)
    with Image.open(file) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)


if __name__ == "__main__":
    main()
