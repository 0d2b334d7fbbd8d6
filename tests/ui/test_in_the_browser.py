"""The page in a real browser, from the picture to the downloaded mesh; and the same work by programs.

One server and one tab are shared by all tests, which build on one another in their order. Pictures of the page are left
in out/page-tests.
"""

import json
import os
import shutil
import time
import zipfile
from pathlib import Path

import pytest
import trimesh

pytest.importorskip("gradio", reason="the page needs the extra ui")
playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")

import httpx  # noqa: E402
from gradio_client import Client, handle_file  # noqa: E402
from gradio_client.exceptions import AppError  # noqa: E402

from zero123.ui.controls import examples  # noqa: E402
from zero123.ui.desk import Limits  # noqa: E402
from zero123.ui.serving import serve  # noqa: E402

CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
SHOTS = Path(__file__).parents[2] / "out" / "page-tests"
LONG = 60_000
POT = next(file for file in examples() if file.stem == "honey-pot")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def served():
    with serve(port=0, limits=Limits(upload=3_000_000)) as page:
        page.desk.warm()  # a busy machine loads the model longer than a browser is asked to wait
        yield page


@pytest.fixture(scope="module")
def browser():
    options = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def tab(served, browser):
    tab = Tab(browser, served.address)
    yield tab
    tab.page.close()


class Tab:
    """A tab, and what it asked for."""

    def __init__(self, browser, address, **options):
        self.page = browser.new_page(
            **{"viewport": {"width": 1360, "height": 900}, "accept_downloads": True, **options}
        )
        self.page.set_default_timeout(LONG)
        self.asked, self.faults = [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.answer = self.page.goto(address)
        self.page.wait_for_selector("#plot canvas")
        self.page.wait_for_function("window.zero123 && document.querySelector('#plot canvas').width > 100")

    def give(self, file):
        self.page.locator("#picture input[type=file]").set_input_files(file)

    def drawn(self, before=None):
        """The bytes of the view shown, once they are others than `before`."""
        end = time.monotonic() + LONG / 1000
        while time.monotonic() < end:
            source = self.page.locator("#result img").first.get_attribute("src")
            found = self.page.request.get(source).body()
            if found != before:
                return found
            self.page.wait_for_timeout(150)
        raise AssertionError("the view stays the same")

    def value(self, name):
        return float(self.page.locator(f"input[aria-label^='number input for {name}']").first.input_value())

    def preset(self, name):
        self.page.get_by_role("button", name=name, exact=True).click()

    def open(self, name):
        self.page.get_by_role("tab", name=name, exact=True).click()

    def shoot(self, name):
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png")


def test_the_page_asks_no_other_machine_for_anything(served, tab):
    tab.page.wait_for_timeout(500)
    assert [url for url in tab.asked if not url.startswith((served.address, "data:", "blob:"))] == []
    policy = tab.answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert tab.faults == []


def test_an_uploaded_picture_is_cut_out_and_its_first_view_drawn(tab):
    tab.give(POT)
    tab.page.wait_for_selector("#object img")
    assert "transparency" in tab.page.locator("#found").inner_text()
    assert len(tab.drawn()) > 1000
    tab.shoot("view")


def test_a_preset_moves_the_camera_and_changes_the_picture(tab):
    before = tab.drawn()
    tab.preset("Behind")
    tab.drawn(before)
    assert abs(tab.value("Azimuth")) == 180


def test_the_camera_is_dragged_in_the_plot_with_quick_previews_and_moved_by_keys(tab):
    before = tab.drawn()
    tab.preset("Front")
    before = tab.drawn(before)
    tab.page.wait_for_function("document.querySelector('.camera-words').textContent.startsWith('where')")
    steps = tab.page.locator("input[aria-label^='number input for Steps']").first
    steps.fill("2")
    box = tab.page.locator("#plot canvas").bounding_box()
    x, y = camera_at(tab.page, box)
    tab.page.mouse.move(x, y)
    tab.page.mouse.down()
    tab.page.mouse.move(x + 40, y - 10, steps=4)
    told(tab, "preview at one step")
    preview = tab.drawn(before)
    tab.page.mouse.up()
    told(tab, "2 steps")
    tab.drawn(preview)
    steps.fill("1")
    azimuth = tab.value("Azimuth")
    assert 5 < azimuth < 120
    tab.page.focus("#plot canvas")
    tab.page.keyboard.press("ArrowRight")
    tab.page.wait_for_function(
        f"document.querySelector('#plot .camera-words').textContent.includes('{azimuth + 5:g}°')"
    )
    tab.page.keyboard.press("Home")
    tab.page.wait_for_function("document.querySelector('#plot .camera-words').textContent.startsWith('where')")


def told(tab, words):
    """Wait until the page says so below the view."""
    tab.page.wait_for_function("words => document.querySelector('#facts').textContent.includes(words)", arg=words)


def camera_at(page, box):
    """Where the target camera is drawn while it stands at the input camera, in the page: by its colour."""
    place = page.evaluate(
        """() => { const c = document.querySelector('#plot canvas'), k = c.getContext('2d');
        const d = k.getImageData(0, 0, c.width, c.height).data; let n = 0, sx = 0, sy = 0;
        for (let i = 0; i < d.length; i += 4) if (Math.abs(d[i] - 13) < 12 && Math.abs(d[i + 1] - 148) < 12
          && Math.abs(d[i + 2] - 136) < 12) { n += 1; sx += (i / 4) % c.width; sy += Math.floor(i / 4 / c.width); }
        return [sx / n / c.width, sy / n / c.height]; }"""
    )
    return box["x"] + place[0] * box["width"], box["y"] + place[1] * box["height"]


def test_where_it_guesses_shows_samples_and_their_spread(tab):
    before = tab.drawn()
    tab.page.get_by_label("Where it guesses").check()
    tab.drawn(before)
    tab.page.wait_for_selector("#samples img")
    assert tab.page.locator("#samples img").count() == 4
    assert "where it may be wrong, by up to" in tab.page.locator("#facts").inner_text()
    tab.shoot("guesses")
    tab.page.get_by_label("Where it guesses").uncheck()
    tab.page.wait_for_selector("#samples", state="hidden")


def test_a_mask_painted_by_hand_changes_the_object(tab):
    tab.page.locator("#background > button").click()
    canvas = tab.page.locator("#mask canvas")
    canvas.wait_for(state="visible")
    before = tab.drawn()
    tab.page.locator("#mask [data-do=remove]").click()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    tab.page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.25)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.3, steps=5)
    tab.page.mouse.up()
    tab.shoot("mask")
    tab.page.locator("#mask [data-do=apply]").click()
    tab.page.wait_for_function("document.querySelector('#found').textContent.includes('by hand')")
    masked = tab.drawn(before)
    height = tab.page.get_by_label("Picture taken from")
    assert height.input_value() == ""
    height.fill("60")
    height.press("Enter")
    tall = tab.drawn(masked)
    height.fill("")
    height.press("Enter")
    front = tab.page.get_by_label("its front, degrees to the right")
    front.scroll_into_view_if_needed()
    again = tab.drawn(tall)
    front.fill("-60")
    front.press("Enter")
    tab.drawn(again)
    front.fill("")
    front.press("Enter")
    tab.page.locator("#background > button").click()


def test_the_view_stays_in_sight_of_who_scrolls_to_the_settings_that_change_it(tab):
    tab.page.locator("#background > button").click()
    tab.page.get_by_label("its front, degrees to the right").wait_for(state="visible")
    tab.page.evaluate("scrollTo(0, 600)")
    assert tab.page.evaluate("scrollY") == 600
    assert 0 <= tab.page.evaluate("document.querySelector('#result').getBoundingClientRect().top") < 200
    tab.page.evaluate("scrollTo(0, 0)")
    tab.page.locator("#background > button").click()


def test_the_history_brings_settings_back(tab):
    tab.preset("Above")
    tab.page.wait_for_function("document.querySelector('#facts').textContent.includes('90° up')")
    tab.page.wait_for_timeout(1500)
    tab.open("History")
    tab.page.wait_for_selector("#history img")
    assert tab.page.locator("#history img").count() >= 4
    tab.page.locator("#history button:has(img)").last.click()
    tab.open("View")
    tab.page.wait_for_timeout(500)
    assert (tab.value("Azimuth"), tab.value("Elevation, degrees up (")) == (30, 0)


def test_a_link_opens_the_same_settings_and_holds_no_picture(served, browser, tab):
    tab.page.click("#link")
    link = tab.page.evaluate("location.href")
    assert "azimuth=30" in link
    assert len(link) < 250
    other = Tab(browser, link.replace("azimuth=30", "azimuth=-75").replace("seed=0", "seed=999999999999"))
    other.page.wait_for_function(
        "document.querySelector('#plot .camera-words').textContent.includes('75° to the left')"
    )
    assert "seed must be" in other.page.locator(".toast-body").first.inner_text()
    assert other.page.locator("#result img").count() == 0
    other.page.close()


def test_bad_files_are_refused_with_a_reason_and_the_page_goes_on(tab, tmp_path):
    text, large = tmp_path / "text.png", tmp_path / "large.png"
    text.write_text("no picture at all")
    large.write_bytes(os.urandom(4_000_000))
    tab.page.locator("#picture").get_by_label("Remove Image").first.click()
    tab.give(text)
    tab.page.wait_for_function("document.querySelector('#found').textContent.includes('not a picture')")
    tab.shoot("bad-file")
    tab.page.locator("#picture").get_by_label("Remove Image").first.click()
    tab.give(large)
    tab.page.get_by_text("maximum", exact=False).first.wait_for()
    tab.page.click("#draw")
    tab.page.get_by_text("Give a picture first").first.wait_for()
    tab.page.reload()
    tab.page.wait_for_selector("#plot canvas")
    tab.page.locator("#examples button:has(img)").nth(2).click()
    assert len(tab.drawn()) > 1000


def test_two_tabs_keep_to_themselves(served, browser, tab):
    other = Tab(browser, served.address)
    before = tab.drawn()
    other.give(next(file for file in examples() if file.stem == "taxi"))
    tab.preset("Behind")  # while the other's picture is cut out and drawn
    assert other.drawn() != tab.drawn(before)
    told(tab, "180° right")
    told(other, "30° right")
    other.open("History")
    other.page.wait_for_selector("#history img")
    assert other.page.locator("#history img").count() == 1
    other.page.close()


def test_an_orbit_is_a_video(tab):
    tab.open("Orbit")
    tab.page.locator("input[aria-label^='number input for Views in one turn']").fill("6")
    tab.page.click("#make-orbit")
    tab.page.wait_for_selector("#orbit-video video", state="attached")
    with tab.page.expect_download() as saved:
        tab.page.click("#orbit-zip")
    assert saved.value.suggested_filename == "views.zip"
    tab.shoot("orbit")


def test_a_mesh_turns_in_the_browser_and_is_downloaded(tab, tmp_path):
    tab.open("3D")
    tab.page.get_by_label("Draft").check()
    tab.page.click("#make-mesh")
    tab.page.wait_for_selector("#mesh canvas", timeout=150_000)  # a mesh takes its time on a busy machine
    tab.page.wait_for_function(
        "() => { const d = document.querySelector('#mesh canvas'); return d.width > 100 && d.height > 100; }"
    )
    for name, ending in (("GLB", ".glb"), ("OBJ", ".zip"), ("PLY", ".ply"), ("Dataset", ".zip")):
        with tab.page.expect_download() as saved:
            tab.page.click(f"#get-{name}")
        assert saved.value.suggested_filename.endswith(ending)
        if name == "GLB":
            saved.value.save_as(tmp_path / "model.glb")
    assert len(trimesh.load(tmp_path / "model.glb", force="mesh").faces) > 500
    tab.page.wait_for_timeout(2500)
    tab.shoot("mesh")
    assert tab.faults == []


def test_the_stop_button_and_a_closed_tab_stop_the_work(served, browser):
    leaving = Tab(browser, served.address)
    leaving.give(POT)
    leaving.drawn()
    leaving.open("3D")
    leaving.page.click("#make-mesh")
    leaving.page.wait_for_function("document.querySelector('#mesh-progress').textContent.includes('fitting')")
    leaving.page.get_by_role("button", name="Stop", exact=True).click()
    leaving.page.wait_for_function("document.querySelector('#mesh-progress').textContent.includes('Stopped')")
    leaving.page.click("#make-mesh")
    leaving.page.wait_for_function("document.querySelector('#mesh-progress').textContent.includes('fitting')")
    leaving.page.close()
    end = time.monotonic() + 60
    while served.desk.busy:
        assert time.monotonic() < end
        time.sleep(0.1)


TOO_WIDE = """() => [...document.querySelectorAll('.tabitem *')]
    .filter(e => e.offsetParent && e.getBoundingClientRect().right > 391 && !e.closest('.tab-container'))
    .map(e => e.outerHTML.slice(0, 100))"""


def test_on_a_phone_nothing_is_wider_than_the_screen(served, browser):
    phone = Tab(browser, served.address, viewport={"width": 390, "height": 844}, has_touch=True, color_scheme="dark")
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert "dark" in phone.page.evaluate("document.body.className")
    assert (phone.page.locator("#result").bounding_box() or {})["width"] > 330
    phone.shoot("phone")
    for name, shown in (("Orbit", "#make-orbit"), ("3D", "#make-mesh")):
        phone.open(name)
        phone.page.locator(shown).wait_for(state="visible")
        assert phone.page.evaluate(TOO_WIDE) == []
    for name, shown in (("Compare", "#draw-both"), ("History", "#history"), ("Models", ".models")):
        phone.page.locator(".overflow-menu > button").click()
        phone.page.locator(".overflow-dropdown button", has_text=name).click()
        phone.page.locator(shown).first.wait_for(state="visible")
        assert phone.page.evaluate(TOO_WIDE) == []
    phone.shoot("phone-models")
    phone.page.close()


def test_programs_do_the_same_by_the_gradio_client(served):
    client = Client(served.address, verbose=False, analytics_enabled=False, httpx_kwargs={"timeout": 120})
    files = client.predict(handle_file(POT), 30, 0, 0, "mini", 1, 1, 0, 2, "auto", api_name="/view")
    assert [Path(file).read_bytes()[:4] for file in files] == [b"\x89PNG"] * 2
    assert {model["name"] for model in client.predict(api_name="/models")} >= {"mini", "zero123-xl"}
    video, views = client.predict(handle_file(POT), 3, 0, 6, "mini", 1, 1, 0, "auto", api_name="/orbit")
    assert Path(video).read_bytes()[4:8] == b"ftyp"
    assert Path(views).read_bytes()[:2] == b"PK"
    [told] = client.predict(handle_file(POT), azimuth=30, photo_elevation="60", api_name="/view")
    assert Path(told).read_bytes() != Path(files[0]).read_bytes()
    [alike] = client.predict(handle_file(POT), azimuth=30, photo_elevation="60", front="70", api_name="/view")
    assert Path(alike).read_bytes() != Path(told).read_bytes()
    with pytest.raises(AppError, match="object's front must be a number"):
        client.predict(handle_file(POT), front="left", api_name="/view")
    with pytest.raises(AppError, match="picture's height must be a number"):
        client.predict(handle_file(POT), photo_elevation="91", api_name="/view")
    with pytest.raises(AppError, match="Faces must be a whole number from 500"):
        client.predict(handle_file(POT), 3, True, "mini", 1, 1, 0, "auto", api_name="/mesh")
    with pytest.raises(AppError, match="Azimuth must be a number"):
        client.predict(handle_file(POT), 1e9, 0, 0, "mini", 1, 1, 0, 1, "auto", api_name="/view")
    with pytest.raises(AppError, match="zero123 weights get"):
        client.predict(handle_file(POT), 0, 0, 0, "zero123-xl", 1, 1, 0, 1, "auto", api_name="/view")


@pytest.mark.thorough
def test_programs_get_a_mesh_by_the_gradio_client(served):
    client = Client(served.address, verbose=False, analytics_enabled=False, httpx_kwargs={"timeout": 120})
    made = client.predict(handle_file(POT), faces=2000, draft=True, api_name="/mesh")
    glb, obj, ply, dataset, turntable = (Path(file) for file in made)
    assert [file.suffix for file in (glb, obj, ply, dataset, turntable)] == [".glb", ".zip", ".ply", ".zip", ".mp4"]
    meshes = [trimesh.load(file, force="mesh") for file in (glb, ply)]
    assert all(500 < len(mesh.faces) <= 2000 for mesh in meshes)
    assert meshes[0].visual.material.baseColorTexture.size[0] >= 256
    with zipfile.ZipFile(obj) as packed:
        assert {Path(name).suffix for name in packed.namelist()} >= {".obj", ".mtl", ".png"}
    with zipfile.ZipFile(dataset) as packed:
        assert any(name.endswith("transforms.json") for name in packed.namelist())
    assert turntable.read_bytes()[4:8] == b"ftyp"


def test_programs_do_the_same_by_plain_http(served):
    with httpx.Client(base_url=f"{served.address}/gradio_api", timeout=120) as http:
        [path] = http.post("/upload", files={"files": ("pot.png", POT.read_bytes())}).json()
        given = {"path": path, "meta": {"_type": "gradio.FileData"}}
        call = http.post("/call/cut_out", json={"data": [given, "auto"]}).json()["event_id"]
        told = http.get(f"/call/cut_out/{call}").text
        assert "event: complete" in told
        [[file]] = json.loads(told.rpartition("data: ")[2])
        assert http.get(file["url"]).content[:4] == b"\x89PNG"
        foreign = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
        call = http.post("/call/cut_out", json={"data": [foreign, "auto"]}).json()["event_id"]
        assert "event: error" in http.get(f"/call/cut_out/{call}").text
