"""Objaverse through its package (here a fake one): what is chosen, fetched, skipped and attributed."""

import csv
import errno
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from zero123.data import objaverse_files
from zero123.data.objaverse import Choice, Entry, choose, choose_xl, lvis_uids, read_uids, short_licence
from zero123.data.objaverse_files import download, write_list

ANNOTATIONS = {
    "a1": ("Mug", "by", 0, 2e6, 900, "Ann"),
    "b2": ("Fox", "by-nc", 3, 9e6, 5000, "Bob"),
    "c3": ("Tin, old", "cc0", 0, 1e6, 100, "Cy"),
    "d4": ("Car", "by", 1, 8e7, 90000, "Di"),
    "e5": ("Jar", None, 0, 1e6, 10, "Ed"),
}


class FakeObjaverse(ModuleType):
    """What version 0.1.7 offers, without a network."""

    def __init__(self, store):
        super().__init__("objaverse")
        self.store, self.asked, self.gone = store, [], set()

    def load_uids(self):
        return list(ANNOTATIONS)

    def load_annotations(self, uids=None):
        made = {}
        for uid in uids or ANNOTATIONS:
            name, licence, animations, size, faces, author = ANNOTATIONS[uid]
            made[uid] = {
                "uid": uid,
                "name": name,
                "license": licence,
                "animationCount": animations,
                "archives": {"glb": {"size": size, "faceCount": faces}},
                "user": {"displayName": author},
                "viewerUrl": f"view/{uid}",
            }
        return made

    def load_lvis_annotations(self):
        return {"mug": ["a1", "e5"], "fox": ["b2"], "foxglove": ["c3"]}

    def load_objects(self, uids, download_processes=1):
        print("noise")
        self.asked.append(list(uids))
        if self.gone & set(uids):
            raise OSError("HTTP Error 404: Not Found")
        found = {}
        for uid in uids:
            path = self.store / f"{uid}.glb"
            path.write_text(uid)
            found[uid] = str(path)
        return found


class FakeXL(ModuleType):
    def __init__(self, store):
        super().__init__("objaverse.xl")
        self.store, self.asked = store, []

    def download_objects(self, objects, download_dir, processes, handle_found_object):
        for row in objects:
            self.asked.append(row["sha256"])
            if row["fileIdentifier"] != "gone":
                path = self.store / f"x.{row['fileType']}"
                path.write_text(row["sha256"])
                handle_found_object(
                    local_path=str(path), file_identifier=row["fileIdentifier"], sha256=row["sha256"], metadata={}
                )
                path.unlink()  # as the package does with files of repositories
        return {}


@pytest.fixture
def fake(monkeypatch, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    package = FakeObjaverse(store)
    package.xl = FakeXL(store)
    pandas = ModuleType("pandas")
    pandas.DataFrame = list
    monkeypatch.setitem(sys.modules, "objaverse", package)
    monkeypatch.setitem(sys.modules, "objaverse.xl", package.xl)
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    return package


def _rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _uids(entries):
    return [entry.uid for entry in entries]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(), ["a1", "b2", "c3", "d4", "e5"]),
        (Choice(licences=("by", "cc0")), ["a1", "c3", "d4"]),
        (Choice(licences=("unknown",)), ["e5"]),
        (Choice(still=True), ["a1", "c3", "e5"]),
        (Choice(max_megabytes=5), ["a1", "c3", "e5"]),
        (Choice(max_faces=900), ["a1", "c3", "e5"]),
    ],
)
def test_filters_keep_what_they_say(fake, choice, expected):
    assert _uids(choose(choice)) == expected


def test_filters_that_nothing_passes_are_told_with_the_licences_there_are(fake):
    with pytest.raises(
        ValueError, match="none of 5 objects passes the filters; their licences are by, by-nc, cc0, unk"
    ):
        choose(Choice(licences=("mit",)))


def test_uids_that_are_not_there_are_passed_over_and_told(fake, caplog):
    assert _uids(choose(Choice(), ["b2", "zz"])) == ["b2"]
    assert [r.getMessage() for r in caplog.records] == ["Objaverse has no object zz: 1 of 2 uids passed over"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError("Name or service not known"), r"annotations cannot be had: Name or service not known; is there a net"),
        (EOFError("Compressed file ended"), r"a file of annotations in ~/\.objaverse is damaged"),
    ],
)
def test_a_missing_network_and_a_damaged_store_are_told_in_one_line(fake, monkeypatch, error, message):
    def fail(*_):
        raise error

    monkeypatch.setattr(fake, "load_annotations", fail, raising=False)
    with pytest.raises(OSError, match=message) as caught:
        choose(Choice())
    assert "\n" not in str(caught.value)


def test_a_full_disk_ends_the_download_and_what_is_there_is_kept(fake, tmp_path, monkeypatch):
    entries, out = choose(Choice()), tmp_path / "out"
    assert all(error is None for _, error in download(entries[:2], out))

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(objaverse_files.os, "link", full)
    monkeypatch.setattr(objaverse_files.shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left on device; what is there is kept, the same command goes on"):
        list(download(entries, out))
    assert sorted(p.name for p in out.glob("[!.]*")) == ["a1.glb", "attribution.csv", "b2.glb"]
    monkeypatch.undo()


def test_two_downloads_into_one_folder_are_refused(fake, tmp_path):
    first = download(choose(Choice()), tmp_path)
    next(first)
    with pytest.raises(OSError, match=rf"process {os.getpid()} on .* is downloading here; wait for it or stop it"):
        next(download(choose(Choice()), tmp_path))
    assert all(error is None for _, error in first) and len(_rows(tmp_path / "attribution.csv")) == len(ANNOTATIONS)


def test_a_limit_draws_by_the_seed_alone(fake):
    first = _uids(choose(Choice(limit=2, seed=1)))
    assert len(first) == 2 and first == _uids(choose(Choice(limit=2, seed=1), list(reversed(ANNOTATIONS))))
    assert len({tuple(_uids(choose(Choice(limit=2, seed=s)))) for s in range(20)}) > 5


def test_uids_of_a_file_and_of_lvis(fake, tmp_path):
    (tmp_path / "uids.txt").write_text("# mine\nb2\n\na1.glb\nb2\n")
    assert read_uids(tmp_path / "uids.txt") == ["b2", "a1"]
    assert _uids(choose(Choice(), ["b2"])) == ["b2"]
    assert lvis_uids() == ["b2", "c3", "a1", "e5"] and lvis_uids(["mug"]) == ["a1", "e5"]
    with pytest.raises(ValueError, match="LVIS has no category 'Fox'; there is fox, foxglove"):
        lvis_uids(["Fox"])
    (tmp_path / "uids.txt").write_text("\n")
    with pytest.raises(ValueError, match="holds no uids"):
        read_uids(tmp_path / "uids.txt")


def test_downloads_are_kept_resumed_and_attributed(fake, tmp_path, capsys):
    out = tmp_path / "out"
    entries = choose(Choice())
    fake.gone = {"d4"}
    results = {entry.uid: error for entry, error in download(entries, out)}
    assert {u for u, e in results.items() if e} == {"d4"} and "404" in results["d4"]
    assert [p.name for p in sorted(out.glob("*.glb"))] == ["a1.glb", "b2.glb", "c3.glb", "e5.glb"]
    assert (out / "c3.glb").read_text() == "c3"
    fake.gone, fake.asked = set(), []
    assert all(error is None for _, error in download(entries, out))
    assert fake.asked == [["d4"]]
    rows = {row["object"]: row for row in _rows(out / "attribution.csv")}
    assert rows.keys() == ANNOTATIONS.keys()
    assert rows["c3"] == {
        "object": "c3",
        "file": "c3.glb",
        "name": "Tin, old",
        "author": "Cy",
        "licence": "CC0 1.0",
        "url": "view/c3",
    }
    assert rows["b2"]["licence"] == "CC BY-NC 4.0" and capsys.readouterr().out == ""


def test_xl_goes_by_its_manifest(fake, tmp_path):
    manifest, out = tmp_path / "xl.csv", tmp_path / "out"
    manifest.write_text(
        "fileIdentifier,source,license,fileType,sha256\n"
        "there/a.glb,github,MIT,glb,11\ngone,github,,ply,22\nthere/c.blend,github,MIT,blend,33\n"
    )
    entries = choose_xl(manifest, Choice())
    assert [(e.uid, e.licence, e.suffix) for e in entries] == [("11", "mit", ".glb"), ("22", "unknown", ".ply")]
    assert _uids(choose_xl(manifest, Choice(licences=("mit",)))) == ["11"]
    results = {entry.uid: error for entry, error in download(entries, out)}
    assert results == {"11": None, "22": "not there any more, or changed since it was listed"}
    assert (out / "11.glb").read_text() == "11"
    list(download(entries, out))
    assert fake.xl.asked == ["11", "22", "22"]
    with pytest.raises(ValueError, match="say nothing of animation and size"):
        choose_xl(manifest, Choice(still=True))
    manifest.write_text("uid\n1\n")
    with pytest.raises(ValueError, match="needs rows with the columns"):
        choose_xl(manifest, Choice())


@pytest.mark.parametrize(
    ("licence", "short"),
    [
        ("by-nc-sa", "by-nc-sa"),
        ("creative commons - attribution", "by"),
        ("creative commons - attribution - share alike", "by-sa"),
        ("creative commons - attribution - non-commercial - no derivatives", "by-nc-nd"),
        ("creative commons attribution noncommercial sharealike 4.0", "by-nc-sa"),
        ("cc-by-sa-4.0", "by-sa"),
        ("cc by 4.0", "by"),
        ("cc0", "cc0"),
        ("creative commons - public domain dedication", "cc0"),
        ("mit license", "mit license"),
        ("gnu - gpl", "gnu - gpl"),
        ("unknown", "unknown"),
    ],
)
def test_a_creative_commons_licence_has_one_short_name_however_it_is_spelt(licence, short):
    assert short_licence(licence) == short
    assert Choice(licences=(short,)).wants(Entry("a", licence=licence))
    assert Choice(licences=(licence,)).wants(Entry("a", licence=licence))
    assert not Choice(licences=("by-sa-nd",)).wants(Entry("a", licence=licence))


def test_without_the_package_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "objaverse", None)
    with pytest.raises(ImportError, match=r"zero123\[objaverse\]"):
        choose(Choice())
    with pytest.raises(ImportError, match=r"zero123\[objaverse\]"):
        list(download([Entry("a", origin=("there/a.glb", "github"))], tmp_path))


def test_the_verb_lists_and_downloads_only_when_told_to(fake, tmp_path, capsys):
    from typer.testing import CliRunner

    from zero123.cli.data import app

    out = tmp_path / "out"
    run = CliRunner().invoke(app, ["objaverse", "-o", str(out), "--licence", "BY", "--still"])
    assert run.exit_code == 0, run.output
    assert "1 objects" in run.output and "nothing downloaded" in run.output and fake.asked == []
    assert [row["object"] for row in _rows(out / "objects.csv")] == ["a1"]
    run = CliRunner().invoke(app, ["objaverse", "-o", str(out), "--category", "mug", "--download"])
    assert run.exit_code == 0, run.output
    assert sorted(p.name for p in out.glob("*.glb")) == ["a1.glb", "e5.glb"]
    assert isinstance(write_list([], out), Path)
    fake.gone = set(ANNOTATIONS)
    run = CliRunner().invoke(app, ["objaverse", "-o", str(tmp_path / "none"), "--category", "mug", "--download"])
    assert "0 objects" in run.output and "2 failed" in run.output
    assert str(run.exception) == "nothing could be downloaded; see the lines above"
