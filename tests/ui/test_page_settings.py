"""Fields and links: every value out of range is refused in one line, and links carry settings only."""

from dataclasses import fields
from urllib.parse import parse_qs

import pytest

pytest.importorskip("gradio", reason="the page needs the extra ui")

import gradio as gr

from zero123.ui.controls import view_settings, within
from zero123.ui.model_list import known_models, models_table
from zero123.ui.settings import RANGES, ViewSettings, number

MODELS = ["mini", "mine"]


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("value", ["", None, "x" * 5000, "nan", "inf", "1e999", [1], True, "0x10"])
def test_what_is_no_number_is_refused_by_name_in_one_short_line(name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be a (whole )?number from") as told:
        number(name, value)
    assert len(str(told.value)) < 160
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", RANGES)
def test_numbers_just_out_of_range_are_refused_and_limits_allowed(name):
    limits = RANGES[name]
    assert number(name, limits.low) == limits.low
    assert number(name, str(limits.high)) == limits.high
    for beyond in (limits.low - limits.step, limits.high + limits.step):
        with pytest.raises(ValueError, match=name):
            number(name, beyond)


def test_whole_numbers_are_whole():
    with pytest.raises(ValueError, match="steps must be a whole number"):
        number("steps", 2.5)
    assert isinstance(number("steps", 3.0), int)


def test_a_link_carries_every_setting_and_nothing_else():
    there = ViewSettings(-170, 33, 0.25, "mine", 40, 2.5, 3, 7)
    query = {key: values[0] for key, values in parse_qs(there.query()).items()}
    assert set(query) == {field.name for field in fields(ViewSettings)}
    assert ViewSettings.from_query(query, MODELS) == (there, [])


def test_a_hostile_link_changes_nothing_and_says_what_it_left_out():
    query = {
        "azimuth": "1e9",
        "steps": "<script>alert(1)</script>",
        "model": "/etc/passwd",
        "seed": "5",
        "picture": "http://evil/x.png",
    }
    settings, refused = ViewSettings.from_query(query, MODELS)
    assert settings == ViewSettings(seed=5)
    assert len(refused) == 3
    assert any("no model '/etc/passwd'" in line for line in refused)


def test_a_preview_is_the_same_view_in_one_step():
    full = ViewSettings(40, -20, 0.1, "mine", 50, 4.0, 6, 3)
    assert full.preview == ViewSettings(40, -20, 0.1, "mine", 1, 1.0, 1, 3)


def test_forms_say_what_is_wrong_to_the_visitor():
    with pytest.raises(gr.Error, match="Azimuth must be a number from -180 to 180°, got 999"):
        view_settings((999, 0, 0), ("mini", 1, 1, 0))
    with pytest.raises(gr.Error, match="Frames must be a whole number from 3 to 48, got 1e9"):
        within("frames", "1e9", 3, 48)


def test_every_model_is_listed_with_size_and_licence_and_only_those_here_can_be_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("ZERO123_WEIGHTS", str(tmp_path))
    models = known_models()
    assert [model.name for model in models.values() if model.here] == ["mini"]
    assert (models["mini"].steps, models["mini"].scale) == (1, 1.0)
    table = models_table(models)
    for name in ("zero123-xl", "stable-zero123", "105000"):
        assert f"zero123 weights get {name}" in table
        assert models[name].licence in table
    (tmp_path / "105000.ckpt").write_bytes(b"not looked into here")
    assert known_models()["105000"].here


def test_own_models_are_listed_and_missing_or_twice_named_ones_refused(tmp_path):
    own = tmp_path / "mine.ckpt"
    own.write_bytes(b"x")
    assert known_models([own])["mine"].source == str(own)
    with pytest.raises(ValueError, match="no such model"):
        known_models([tmp_path / "nothing"])
    with pytest.raises(ValueError, match="two models are called mine"):
        known_models([own, own])
