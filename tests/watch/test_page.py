"""The page and the film of `dream-agents watch`."""

import socket
import threading
import urllib.request

import numpy as np
import pytest

from dream_agents import make_env
from dream_agents.watch import Session, record
from dream_agents.watch.scene import between
from dream_agents.wrappers import gl

needs_gl = pytest.mark.skipif(
    not any(map(gl.is_usable, gl.HEADLESS)), reason="neither EGL nor OSMesa works here"
)


@pytest.fixture
def page(session):
    pytest.importorskip("viser")
    from dream_agents.watch.page import Page

    made = Page(session, port=0)
    yield made
    made.close()


def test_the_page_is_served_while_the_robot_acts(page):
    page.run(seconds=0.3)
    assert urllib.request.urlopen(page.url, timeout=10).status == 200
    assert page.session.decision > 0
    assert "return" in page._now.content
    assert len(page._rewards.data[0]) == 3


def test_a_wish_is_granted_between_decisions(page):
    page._planner.value = "policy"
    page._wish(page._switch)
    page._wish(lambda: page._push("+x"))
    page.run(seconds=0.2)
    assert page.session.planner_name == "policy"


def test_an_option_of_the_planner_before_is_refused_and_ends_nothing(page):
    page.session.set_planner("policy")
    page._wish(lambda: page._set("candidates", 3))
    page.run(seconds=0.2)
    assert page.session.planner_name == "policy"


def test_nothing_is_left_running(session):
    pytest.importorskip("viser")
    from dream_agents.watch.page import Page

    page = Page(session, port=0)
    page.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", page.port)) != 0
    assert not [thread for thread in threading.enumerate() if "viser" in thread.name.lower()]


def test_pictures_between_two_decisions():
    before, after = np.zeros((1, 7)), np.zeros((1, 7))
    before[0, 3], after[0, 0], after[0, 4] = 1, 2, 1
    half = between(before, after, 0.5)
    np.testing.assert_allclose(half[0], [1, 0, 0, np.sqrt(0.5), np.sqrt(0.5), 0, 0])
    np.testing.assert_allclose(between(before, -before, 0.7)[0, 3:], [-1, 0, 0, 0])


@needs_gl
def test_a_film_of_what_it_thinks(walker, tmp_path):
    imageio = pytest.importorskip("imageio.v2")
    pytest.importorskip("imageio_ffmpeg")
    session = Session(walker, lambda: make_env("dmc_walker-walk-v0", render_mode="rgb_array"))
    total = record(session, tmp_path / "film.mp4", decisions=3)
    session.close()
    assert total == pytest.approx(session.total)
    frames = [frame for frame in imageio.get_reader(tmp_path / "film.mp4")]  # noqa: C416  # its len() is infinite
    assert len(frames) == 3
    assert np.std(frames[0]) > 20


def test_without_viser_the_error_says_what_to_install(dream_agents_watch, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "viser", None)
    done = dream_agents_watch("dream_mpc-walker-walk")
    assert done.exit_code == 2
    assert "pip install 'dream-agents[watch]'" in done.output.replace("\n", " ")
