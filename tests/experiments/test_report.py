"""The report of an experiment: opened in a browser, its numbers, its files."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile

import gymnasium as gym
import numpy as np
import pytest

from dream_agents.experiments import find_experiment, narrowed, packaged_experiments, read_experiment
from dream_agents.experiments.engine import Engine
from dream_agents.experiments.report import (
    Content,
    aggregates,
    metric_of,
    normalised,
    probabilities_of_improvement,
    profiles,
    write_report,
)
from dream_agents.experiments.report.tables import results_tables

FILE = """
title = "Two agents & two tasks"
tasks = ["dmc_walker-walk-v0", "metaworld_window-open-v3"]
seeds = [1, 2, 3]
frames = 1000

[agents.tdmpc2]
agent = "tdmpc2"
label = "TD-MPC2"

[agents.bmpc]
agent = "bmpc"
label = "BMPC"

[planners.policy]
planner = "policy"

[planners.dream]
planner = "dream"
options = { candidates = [1, 5] }

[evaluation]
episodes = 2

[report]
sweep = { reference = "policy" }

[[published]]
method = "TD-MPC2"
source = "somewhere"
frames = 900
results = { dmc_walker-walk-v0 = [901, 12], metaworld_window-open-v3 = [0.67, 0.47] }
"""


def evaluated(path, folder):
    """An experiment's folder as the engine leaves it, with results drawn at random."""
    engine = Engine(read_experiment(path), folder)
    folder.mkdir()
    engine.begin()
    draw = np.random.default_rng(0)
    for job in engine.jobs:
        job.run.mkdir(parents=True)
        rows = [f"{250 * i},{500 * i},dream,{400 * i + draw.normal()},9,10,{0.1 * i}" for i in (1, 2)]
        header = "decisions,frames,planner,mean,std,episodes,success_rate"
        (job.run / "evaluations.csv").write_text("\n".join([header, *rows]) + "\n")
        (job.run / "episodes.csv").write_text("decisions,frames,return,length,seconds\n500,1000,3,500,1\n")
        with zipfile.ZipFile(job.run / "final.zip", "w") as file:
            file.writestr("data", json.dumps({"num_timesteps": job.settings.decisions}))
        for planner in job.planners:
            place = job.evaluation_folder(planner)
            place.mkdir(parents=True)
            successes = [bool(draw.random() < 0.5) for _ in range(2)] if "metaworld" in job.task else []
            result = {"returns": list(draw.uniform(0, 1000, 2)), "successes": successes, "latency_ms": 3.5}
            (place / "results.json").write_text(json.dumps({"results": [result]}))
    return engine


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    pytest.importorskip("rliable", reason="needs the extra report")
    folder = tmp_path_factory.mktemp("report")
    path = folder / "two.toml"
    path.write_text(FILE)
    engine = evaluated(path, folder / "out")
    return engine, write_report(engine.folder, films=False)


def opened(page, tmp_path):
    """What a headless browser makes of the page at a phone's width, and what it says on its console."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs Chromium or Chrome")
    script = """<script>addEventListener("load", () => { document.body.dataset.widths =
        [document.documentElement.scrollWidth, innerWidth].join(" ") })</script></body>"""
    copy = tmp_path / "copy.html"
    copy.write_text(page.read_text().replace("</body>", script))
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        "--window-size=390,844",
    ]
    done = subprocess.run(
        [browser, *options, f"--user-data-dir={tmp_path / 'browser'}", "--dump-dom", copy.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, console


def check_page(page, tmp_path):
    """Open the page; every table and figure that has a file is there, and nothing is wider than the screen."""
    dom, console = opened(page, tmp_path)
    assert console == []
    scroll, width = map(int, re.search(r'data-widths="(\d+) (\d+)"', dom).groups())
    assert scroll <= width <= 500
    tables = {path.stem for path in (page.parent / "tables").glob("*.csv")}
    assert tables == set(re.findall(r'<table id="([^"]+)"', dom))
    figures = list((page.parent / "figures").glob("*.png"))
    assert len(figures) == dom.count("<figure>") - dom.count("<video")
    assert not re.search(r'(src|href)="(?!data:|#)', dom)
    return tables, {path.stem for path in figures}


def test_page_has_every_table_and_figure_in_a_browser(finished, tmp_path):
    tables, figures = check_page(finished[1], tmp_path)
    assert tables == {"results", "published", "aggregates", "improvement", "published-scores", "made-with"}
    assert {"curves-walker-walk", "curves-window-open", "aggregates", "profiles", "tradeoff"} <= figures
    assert {"sweep-walker-walk-dream-candidates", "sweep-window-open-dream-candidates"} <= figures


def test_tables_are_means_and_deviations_over_seeds(finished):
    engine, page = finished
    with (engine.folder / "results.csv").open() as file:
        rows = [
            float(row["return"])
            for row in csv.DictReader(file)
            if (row["agent"], row["planner"], row["task"]) == ("bmpc", "policy", "dmc_walker-walk-v0")
        ]
    seeds = np.reshape(rows, (3, 2)).mean(1)
    expected = f"{seeds.mean():.0f} ± {seeds.std():.0f}"
    with (page.parent / "tables" / "results.csv").open() as file:
        walk = next(row for row in csv.DictReader(file) if row["task"] == "walker-walk")
    assert walk["BMPC, policy"] == expected
    assert f"| {expected} |" in (page.parent / "tables" / "results.md").read_text()


def test_a_table_says_where_there_are_fewer_seeds_or_episodes(finished, tmp_path):
    shutil.copytree(finished[0].folder, tmp_path / "out")
    for seed in (2, 3):
        shutil.rmtree(tmp_path / "out" / "evaluations" / "bmpc" / "dmc_walker-walk-v0" / str(seed))
    begun = tmp_path / "out" / "evaluations" / "bmpc" / "dmc_walker-walk-v0" / "1" / "policy" / "results.json"
    begun.write_text(json.dumps({"results": [{"returns": [812.0], "successes": [], "latency_ms": 3.5}]}))
    table, _ = results_tables(Content(finished[0].experiment, tmp_path / "out"))
    walk = dict(zip(table.columns, table.rows[0], strict=True))
    assert walk["BMPC, policy"] == "812 (1 of 3 seeds)"
    assert "seeds" not in walk["TD-MPC2, policy"]
    assert "Evaluations that have not ended count with what they have, 1 episodes or more." in table.note


def test_the_report_says_how_it_was_made_each_time(finished):
    with (finished[1].parent / "tables" / "made-with.csv").open() as file:
        made = dict(csv.reader(file))
    assert (made["workers"], made["threads"], made["frames"]) == ("2", "1", "1,000")
    assert "dream-agents" in made["command"]
    assert made["torch"]


def test_published_results_are_next_to_ours_and_markers_on_the_curves(finished):
    text = finished[1].read_text()
    assert "901 ± 12" in text
    assert "TD-MPC2, published" in text
    assert "Two agents &amp; two tasks" in text


def test_aggregates_are_rliables(finished):
    from rliable import library, metrics

    engine, _ = finished
    content = Content(engine.experiment, engine.folder)
    scores, tasks, left_out = content.scores(content.methods)
    assert (len(tasks), left_out) == (2, "")
    assert all(matrix.shape == (3, 2) for matrix in scores.values())
    functions = {
        "IQM": metrics.aggregate_iqm,
        "median": metrics.aggregate_median,
        "mean": metrics.aggregate_mean,
        "optimality gap": metrics.aggregate_optimality_gap,
    }
    np.random.seed(3)  # noqa: NPY002 - what rliable draws from
    values, intervals = library.get_interval_estimates(
        scores,
        lambda x: np.array([function(x) for function in functions.values()]),
        reps=100,
    )
    for number in aggregates(scores, reps=100, seed=3):
        i = list(functions).index(number.metric)
        assert number.value == values[number.method][i]
        assert (number.low, number.high) == tuple(intervals[number.method][:, i])
    for number in probabilities_of_improvement(scores, reps=20):
        other = re.search(r"better than (.+)\)$", number.metric).group(1)
        assert number.value == metrics.probability_of_improvement(scores[number.method], scores[other])
    assert aggregates(scores, reps=20) == aggregates(scores, reps=20)
    share, _ = profiles(scores, reps=20)
    for name, matrix in scores.items():
        assert share[name][0] == (matrix > 0).mean()


def test_seeds_that_a_method_lacks_are_left_out_of_aggregates_and_said(finished, tmp_path):
    shutil.copytree(finished[0].folder, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "evaluations" / "bmpc" / "dmc_walker-walk-v0" / "3")
    content = Content(finished[0].experiment, tmp_path / "out")
    scores, _, left_out = content.scores(content.methods)
    assert all(matrix.shape == (2, 2) for matrix in scores.values())
    assert "seeds after the first 2" in left_out


@pytest.mark.parametrize(
    ("task", "result", "score"),
    [
        ("dmc_acrobot-swingup-v0", 596.0, 0.596),
        ("metaworld_push-back-v3", 0.33, 0.33),
        ("humanoid_h1hand-run-v0", 302.0, (302.0 - 1.927) / (700.0 - 1.927)),
    ],
)
def test_scores_are_normalised_as_in_equation_7(task, result, score):
    assert normalised(task, result) == pytest.approx(score)
    assert metric_of(task) == ("success" if "metaworld" in task else "return")


def test_tasks_without_a_scale_have_no_score():
    assert np.isnan(normalised("Pendulum-v1", -200.0))


@pytest.fixture
def named(tmp_path):
    """The folder of an experiment on a task with a namespace, trained and evaluated."""
    gym.register(
        "tests/ReportPendulum-v0", "gymnasium.envs.classic_control:PendulumEnv", max_episode_steps=12
    )
    path = tmp_path / "named.toml"
    text = re.sub("tasks = .*", 'tasks = ["tests/ReportPendulum-v0"]', FILE)
    path.write_text(re.sub("results = .*", "results = {}", text))
    yield evaluated(path, tmp_path / "out")
    del gym.registry["tests/ReportPendulum-v0"]


def test_a_task_with_a_namespace_has_figures(named):
    page = write_report(named.folder, films=False)
    names = {path.name for path in (page.parent / "figures").iterdir()}
    assert {"curves-tests_ReportPendulum.png", "sweep-tests_ReportPendulum-dream-candidates.png"} <= names


def test_a_seed_that_has_only_begun_leaves_its_curve_out_and_says_so(named):
    run = named.folder / "runs" / "bmpc" / "tests_ReportPendulum-v0" / "2"
    (run / "evaluations.csv").write_text(
        "decisions,frames,planner,mean,std,episodes,success_rate\n9,9,dream,1,1,1,\n"
    )
    page = write_report(named.folder, films=False)
    assert "Left out: tests/ReportPendulum, BMPC: the runs have no frames in common." in page.read_text()


def test_films_are_made_again_once_an_agent_has_learned_more(named, monkeypatch):
    from dream_agents.experiments.report import films as module

    filmed = []

    def film(model, path, env, max_decisions):
        filmed.append(path.name)
        path.write_bytes(b"a film")

    monkeypatch.setattr(module, "load_model", lambda source, env: env)
    monkeypatch.setattr(module, "record_video", film)
    for _ in range(2):
        module.films(Content(named.experiment, named.folder))
    task = "tests_ReportPendulum-v0-1-250.mp4"
    assert filmed == [f"tdmpc2-{task}", f"bmpc-{task}"]
    final = named.folder / "runs" / "bmpc" / "tests_ReportPendulum-v0" / "1" / "final.zip"
    os.utime(final, (time.time() + 9, time.time() + 9))
    module.films(Content(named.experiment, named.folder))
    assert filmed[2:] == [f"bmpc-{task}"]


def test_an_analysis_is_made_again_once_a_run_has_learned_more(named, monkeypatch):
    from dream_agents.experiments.report import analysis as module

    analysed = []
    monkeypatch.setattr(module, "load_model", lambda source, env: env)
    monkeypatch.setattr(module, "with_world_model", lambda model, source: model)
    monkeypatch.setattr(module, "gradients_of_agents", lambda agents: analysed.append(set(agents.values())))
    for name in ("plot_gradients", "plot_esnr"):
        monkeypatch.setattr(module, name, lambda rows, path: path.write_bytes(b"a picture"))
    monkeypatch.setattr(module, "write_rows", lambda path, rows: None)
    for _ in range(2):
        module.analysis_pictures(Content(named.experiment, named.folder), "gradients")
    assert analysed == [{"tests/ReportPendulum-v0"}]
    final = named.folder / "runs" / "bmpc" / "tests_ReportPendulum-v0" / "1" / "final.zip"
    os.utime(final, (time.time() + 9, time.time() + 9))
    module.analysis_pictures(Content(named.experiment, named.folder), "gradients")
    assert len(analysed) == 2


def packaged(name):
    _, path = find_experiment(name)
    return Content(read_experiment(path, name=name), path.parent / "nowhere")


def test_the_papers_numbers_give_the_order_of_figure_2():
    """Figure 2 is a picture without numbers; the paper's text says that Dream-MPC on BMPC is best in it."""
    content = packaged("paper/figure-2")
    assert len(content.experiment.tasks) == 24
    means = {
        p.method: np.mean([normalised(task, p.results[task][0]) for task in content.experiment.tasks])
        for p in content.published
    }
    assert max(means, key=means.get) == "Dream-MPC (BMPC)"
    assert means["Dream-MPC (BMPC)"] > means["BMPC"] > means["Dream-MPC (TD-MPC2)"] > means["SAC"]


def test_packaged_numbers_are_the_papers(shared):
    with (shared / "paper" / "tables.csv").open() as file:
        rows = list(csv.DictReader(file))
    for table in (1, 2, *range(8, 16)):
        content = packaged(f"paper/table-{table}")
        expected = sorted(
            (float(r["mean"]), float(r["std"]))
            for r in rows
            if r["table"] == str(table) and r["task"] != "mean"
        )
        assert sorted(result for p in content.published for result in p.results.values()) == expected
        labels = {method.label for method in content.methods}
        assert {p.method for p in content.published} == labels


@pytest.mark.parametrize("name", [*packaged_experiments()])
@pytest.mark.parametrize("scale", ["paper", "cpu"])
def test_packaged_experiments_can_be_run_and_reported(name, scale, tmp_path):
    from dream_agents.cli.experiment import _check_options

    _, path = find_experiment(name)
    experiment = read_experiment(path, scale, name=name)
    content = Content(experiment, tmp_path)
    _check_options(Engine(experiment, tmp_path).jobs)
    tasks = set(experiment.tasks)
    assert all(set(published.results) <= tasks for published in content.published)


def test_the_laptops_size_is_only_of_agents_that_have_sizes():
    _, path = find_experiment("paper/table-8")
    agents = read_experiment(path, "cpu").agents
    assert {name: variant.model_size for name, variant in agents.items()} == {
        "sac": None,
        "dreamer": "1M",
        "tdmpc2": "1M",
        "bmpc": "1M",
    }


def test_a_part_of_an_experiment_says_what_it_leaves_out():
    name, path = find_experiment("paper/table-8")
    whole = read_experiment(path, name=name)
    part = narrowed(whole, ["dmc_fish-swim-v0"], ["bmpc"], [7], 2)
    assert (part.tasks, list(part.agents), part.seeds, part.evaluation.episodes) == (
        ("dmc_fish-swim-v0",),
        ["bmpc"],
        (7,),
        2,
    )
    assert len(part.changes) == 4
    with pytest.raises(ValueError, match="paper/table-8 has no 'fish'; its tasks are dmc_acrobot-swingup-v0"):
        narrowed(whole, ["fish"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("films = 3", "report.films = 3: true, false or a table"),
        ("film = true", "report has 'film', which is none of: columns, table"),
        ('table = { metric = "mean" }', "report.table.metric = 'mean': choose from return, success, ms"),
        ('analysis = { kind = "esnr" }', "report.analysis.kind = 'esnr': choose from gradients, returns"),
        (
            'columns = [{ label = "A", agent = "bmpc", planner = "policy" }, '
            '{ label = "A", agent = "tdmpc2", planner = "policy" }]',
            "two columns of the report are called 'A': give each a label of its own",
        ),
        ("table = { metrics = 1 }", "report.table has metrics; its options are: metric"),
        ('columns = [{ label = "A" }]', "report.columns has"),
        (
            'columns = [{ label = "A", agent = "sac", planner = "policy" }]',
            "names the agent 'sac'; there are tdmpc2, bmpc",
        ),
    ],
)
def test_mistakes_in_a_report_are_named(line, message, tmp_path):
    path = tmp_path / "two.toml"
    path.write_text(FILE.replace("[report]", f"[report]\n{line}"))
    with pytest.raises(ValueError, match=re.escape(message)):
        Content(read_experiment(path), tmp_path)


def command(*words):
    code = "from dream_agents.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "experiment", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_papers_table_8_by_one_command(tmp_path):
    """The packaged experiment on a task of its eight and two of its agents, with frames cut to seconds."""
    pytest.importorskip("rliable", reason="needs the extra report")
    out = tmp_path / "F"
    cut = [
        "--frames",
        200,
        "--tasks",
        "dmc_acrobot-swingup-v0",
        "--episodes",
        1,
        "--agents",
        "sac",
        "--agents",
        "bmpc",
    ]
    done = command("run", "paper/table-8", "--scale", "cpu", *cut, "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    done = command("report", out)
    assert done.returncode == 0, done.stdout + done.stderr
    tables, figures = check_page(out / "report" / "report.html", tmp_path)
    assert {"results", "published", "aggregates", "improvement"} <= tables
    assert {"aggregates", "profiles", "tradeoff"} <= figures
    with (out / "report" / "tables" / "results.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert all(row.values())


@pytest.mark.slow
@pytest.mark.parametrize(("figure", "pictures"), [(13, {"gradients", "esnr"}), (15, {"returns"})])
def test_section_d_of_the_paper_by_one_command(figure, pictures, tmp_path):
    """The packaged experiments with frames cut to seconds, and one seed."""
    pytest.importorskip("rliable", reason="needs the extra report")
    out = tmp_path / "F"
    cut = ["--frames", 1200, "--episodes", 1, "--seeds", 1]
    done = command("run", f"paper/figure-{figure}", "--scale", "cpu", *cut, "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    done = command("report", out, "--no-films")
    assert done.returncode == 0, done.stdout + done.stderr
    _, figures = check_page(out / "report" / "report.html", tmp_path)
    assert pictures <= figures
