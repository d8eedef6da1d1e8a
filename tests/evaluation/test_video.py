import sys

import pytest

from dream_agents.evaluation import VideoUnavailableError, evaluate, record_video
from dream_agents.wrappers import RenderingUnavailableError


def test_video_shows_the_first_episode(walk, forward, tmp_path):
    imageio = pytest.importorskip("imageio.v2")
    path = tmp_path / "new" / "walk.mp4"
    total = record_video(forward, path, walk, seed=4)
    result = evaluate(forward, walk, episodes=1, seed=4)
    assert total == pytest.approx(result.returns[0])
    with imageio.get_reader(path) as reader:
        frames = list(reader.iter_data())
        assert reader.get_meta_data()["fps"] == 10
    assert len(frames) == result.lengths[0] + 1
    assert frames[0].shape == (30, 50, 3)
    assert frames[-1].mean() == pytest.approx(20 * result.lengths[0], abs=6)
    assert [file.name for file in path.parent.iterdir()] == ["walk.mp4"]


def test_video_stops_where_told(walk, forward, tmp_path):
    seen = []
    record_video(forward, tmp_path / "walk.mp4", walk, max_decisions=3, progress=seen.append)
    assert seen == [1, 2, 3]


def test_filming_uses_the_planner_that_is_asked_for_and_gives_it_back(walk, walker, tmp_path):
    own = walker.planner
    record_video(walker, tmp_path / "walk.mp4", walk, planner="policy", max_decisions=2)
    assert walker.planner is own


def test_missing_extra_is_named(walk, forward, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(VideoUnavailableError, match=r"pip install 'dream-agents\[video\]'"):
        record_video(forward, tmp_path / "walk.mp4", walk)


def test_missing_opengl_names_the_packages(forward, tmp_path, monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr("dream_agents.wrappers.gl.is_usable", lambda backend: False)
    with pytest.raises(RenderingUnavailableError, match="apt-get install libosmesa6"):
        record_video(forward, tmp_path / "walk.mp4", "dmc_cartpole-balance-v0")
    assert not list(tmp_path.iterdir())


def test_other_formats_are_refused(walk, forward, tmp_path):
    with pytest.raises(ValueError, match=r"written as \.mp4"):
        record_video(forward, tmp_path / "walk.avi", walk)
