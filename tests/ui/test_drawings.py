"""What a tab has drawn, where its draws overlap."""

from pathlib import Path

from zero123.ui.drawings import Drawings, Entry
from zero123.ui.settings import ViewSettings


def entry(turn, name):
    return Entry(turn, Path(name), ViewSettings(azimuth=turn))


def files(drawings, tab="a"):
    return [view.file.name for view in drawings.past(tab)]


def test_a_draw_is_the_newest_until_another_of_its_tab_begins():
    drawings = Drawings()
    turn = drawings.begin("a", None)
    drawings.begin("b", None)
    assert drawings.newest("a", turn)
    later = drawings.begin("a", None)
    assert not drawings.newest("a", turn)
    assert drawings.newest("a", later)


def test_the_newest_wish_is_that_of_the_draw_that_began_last():
    drawings = Drawings()
    assert drawings.wish("a") is None
    for azimuth in (10, 20):
        drawings.begin("a", ViewSettings(azimuth=azimuth))
    drawings.begin("b", ViewSettings(azimuth=30))
    assert drawings.wish("a") == ViewSettings(azimuth=20)


def test_the_history_is_in_the_order_of_wishes_whichever_was_drawn_first():
    drawings = Drawings()
    turns = [drawings.begin("a", None) for _ in range(3)]
    for turn in (turns[0], turns[2], turns[1]):
        drawings.keep("a", entry(turn, f"{turn}.png"))
    assert files(drawings) == ["3.png", "2.png", "1.png"]
    assert files(drawings, "b") == []


def test_a_view_drawn_again_stands_once_and_in_front():
    drawings = Drawings()
    for name in ("x", "y", "x"):
        drawings.keep("a", entry(drawings.begin("a", None), name))
    assert files(drawings) == ["x", "y"]
    assert drawings.past("a")[0].turn == 3


def test_a_closed_tab_is_forgotten_and_what_it_still_draws_too():
    drawings = Drawings()
    turn = drawings.begin("a", None)
    drawings.keep("a", entry(turn, "x"))
    drawings.forget("a")
    drawings.keep("a", entry(turn, "y"))
    assert files(drawings) == []
    assert not drawings.newest("a", turn)


def test_a_long_history_loses_its_oldest_views():
    drawings = Drawings()
    for index in range(60):
        drawings.keep("a", entry(drawings.begin("a", None), f"{index}"))
    assert len(files(drawings)) == 48
    assert files(drawings)[0] == "59"
