import numpy as np
import pytest

from dream_agents.evaluation import plot_learning_curve, read_own_curve, read_published_curves, read_seeds
from dream_agents.evaluation.seeds import interval

PUBLISHED = """task,env_step,seed,return,success
walker-walk,0,1,10,
walker-walk,100000,1,900,
walker-walk,0,2,20,
walker-walk,100000,2,800,
cup-catch,0,1,0,
"""
INTERVALS = """method,task,env_step,mean_return,ci95_low,ci95_high
BMPC,walker-walk,0,20,10,30
BMPC,walker-walk,100000,900,850,950
SAC,walker-walk,0,7,6,8
"""


@pytest.fixture
def published(tmp_path):
    path = tmp_path / "tdmpc2.csv"
    path.write_text(PUBLISHED)
    return path


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    rows = [f"{500 * i},{1000 * i},{100 * i},500,1.5" for i in range(1, 21)]
    (folder / "episodes.csv").write_text("\n".join(["decisions,frames,return,length,seconds", *rows]) + "\n")
    return folder


def evaluate_run(run, *rows):
    header = "decisions,frames,planner,mean,std,episodes,success_rate"
    (run / "evaluations.csv").write_text("\n".join([header, *rows]) + "\n")


@pytest.mark.parametrize("task", ["walker-walk", "dmc_walker-walk-v0", "dm_control/walker-walk-v0"])
def test_published_curve_is_mean_and_range_over_seeds(published, task):
    (curve,) = read_published_curves(published, task)
    assert curve.frames.tolist() == [0, 100_000]
    assert curve.mean.tolist() == [15, 850]
    assert (curve.low.tolist(), curve.high.tolist()) == ([10, 800], [20, 900])
    assert "2 seeds" in curve.label


def test_published_intervals_are_taken_over_for_each_method(tmp_path):
    path = tmp_path / "bmpc.csv"
    path.write_text(INTERVALS)
    bmpc, sac = read_published_curves(path, "walker-walk")
    assert (bmpc.mean[1], bmpc.low[1], bmpc.high[1]) == (900, 850, 950)
    assert bmpc.label.startswith("BMPC")
    assert (sac.label.partition(",")[0], sac.mean.tolist()) == ("SAC", [7])


def test_real_published_curves_are_understood(shared):
    for path in sorted((shared / "reference" / "curves").glob("*.csv")):
        header, row = path.read_text().splitlines()[:2]
        task = dict(zip(header.split(","), row.split(","), strict=True))["task"]
        for curve in read_published_curves(path, task):
            assert (curve.low <= curve.mean).all() and (curve.mean <= curve.high).all()
            assert (np.diff(curve.frames) > 0).all()


def test_unknown_task_lists_the_known_ones(published):
    with pytest.raises(ValueError, match="nothing on dmc_dog-run-v0; its tasks are cup-catch, walker-walk"):
        read_published_curves(published, "dmc_dog-run-v0")


def test_other_columns_are_named(run, published):
    with pytest.raises(ValueError, match="no column task; its columns are decisions, frames"):
        read_published_curves(run / "episodes.csv", "walker-walk")
    with pytest.raises(ValueError, match="no column frames"):
        read_own_curve(published)


def test_episodes_are_averaged_over_a_window(run):
    curve = read_own_curve(run, window=4)
    assert curve.frames[-1] == 20_000
    assert curve.mean[0] == 100
    assert curve.mean[-1] == np.mean([1700, 1800, 1900, 2000])
    assert curve.high[-1] - curve.mean[-1] == pytest.approx(np.std([1700, 1800, 1900, 2000]))


def test_evaluations_are_preferred_to_episodes_once_there_are_some(run):
    evaluate_run(run)
    assert read_own_curve(run).mean[0] == 100
    evaluate_run(run, "5000,10000,dream,700,50,10,")
    curve = read_own_curve(run)
    assert (curve.frames[0], curve.mean[0], curve.low[0], curve.high[0]) == (10_000, 700, 650, 750)


def test_half_a_row_of_a_run_that_goes_on_is_no_row(run):
    evaluate_run(run, "5000,10000,dream,700,50,10,")
    with (run / "evaluations.csv").open("a") as file:
        file.write("10000,200")
    assert read_own_curve(run).frames.tolist() == [10_000]


@pytest.mark.parametrize("count", [4, 11, 12, 13, 31])
def test_intervals_are_student_s(count):
    stats = pytest.importorskip("scipy.stats")
    values = np.arange(count, dtype=float)
    expected = stats.t.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count)
    assert interval(values) == pytest.approx(expected, rel=2e-3)


def test_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no evaluations\.csv or episodes\.csv"):
        read_own_curve(tmp_path)


def test_picture_has_own_and_published_curves_over_frames(run, published, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (drawn.append(self), save(self, *a, **k)))
    out = tmp_path / "pictures" / "curve.png"
    plot_learning_curve({"mine": run}, out, "walker-walk", published)
    assert out.read_bytes().startswith(b"\x89PNG")
    (axes,) = drawn[0].axes
    assert axes.get_xlabel() == "environment frames"
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert sorted(labels) == ["mine (while learning)", "tdmpc2, published (2 seeds, worst to best)"]
    assert axes.get_lines()[-1].get_xdata()[-1] == 20_000


def test_nothing_to_draw_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no curve"):
        plot_learning_curve({}, tmp_path / "curve.png", "walker-walk")


def seeds(tmp_path, offsets, evaluated=True):
    runs = []
    for seed, offset in enumerate(offsets):
        run = tmp_path / f"seed{seed}"
        run.mkdir()
        rows = [f"{i},{1000 * i},{100 * i},500,1.5" for i in range(1, 4)]
        (run / "episodes.csv").write_text("\n".join(["decisions,frames,return,length,seconds", *rows]) + "\n")
        if evaluated:
            evaluate_run(run, *(f"{i},{1000 * i},dream,{100 * i + offset},5,10,{0.1 * i}" for i in (1, 2, 3)))
        runs.append(run)
    return runs


def test_seeds_are_one_curve_with_an_interval_of_their_mean(tmp_path):
    curve = read_seeds(seeds(tmp_path, [-10, 0, 10]), "mine")
    assert curve.frames.tolist() == [1000, 2000, 3000]
    assert curve.mean.tolist() == [100, 200, 300]
    assert curve.high - curve.mean == pytest.approx(4.303 * 10 / np.sqrt(3))
    assert curve.label == "mine, 3 seeds"


def test_rates_of_success_over_seeds(tmp_path):
    success = read_seeds(seeds(tmp_path, [0, 0]), "mine", success=True)
    assert success.mean == pytest.approx([0.1, 0.2, 0.3])


def test_a_line_never_has_evaluations_and_training_episodes(tmp_path):
    runs = seeds(tmp_path, [500, 500])
    (runs[1] / "evaluations.csv").unlink()
    curve = read_seeds(runs, "mine")
    assert curve.mean[0] == 100  # the training episode's of both
    assert curve.label == "mine (while learning), 2 seeds"


def test_rates_of_success_that_there_are_none_of_are_refused(run):
    evaluate_run(run, "5000,10000,dream,700,50,10,")
    with pytest.raises(ValueError, match="no rates of success"):
        read_own_curve(run, success=True)


def test_published_results_are_markers_without_a_line(run, published, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: drawn.append(self))
    plot_learning_curve({"mine": run}, tmp_path / "curve.png", "walker-walk", published)
    lines = [line for line in drawn[0].axes[0].get_lines() if line.get_marker() == "o"]
    assert [line.get_linestyle() for line in lines] == ["None"]
