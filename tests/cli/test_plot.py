"""``dream-agents plot`` of evaluation results; of runs it is tested with the run that test_listings trains."""

from dream_agents.cli.plot import _by_agent
from dream_agents.runs import RunSettings, write_settings


def test_results_of_several_evaluations_in_one_picture(dream_agents_command, tmp_path):
    files = [tmp_path / f"{planner}.json" for planner in ("policy", "dream")]
    for file in files:
        done = dream_agents_command(
            "eval", "dream_mpc-cartpole-balance", "--planner", file.stem, "--episodes", 1, "--json", file
        )
        assert done.exit_code == 0, done.output
    out = tmp_path / "tradeoff.png"
    done = dream_agents_command("plot", *files, "--out", out)
    assert done.exit_code == 0, done.output
    assert out.stat().st_size > 10_000


def test_results_that_are_not_there(dream_agents_command, tmp_path):
    done = dream_agents_command("plot", tmp_path / "none.json", "--out", tmp_path / "tradeoff.png")
    assert done.exit_code != 0
    assert "dream-agents eval ... --json FILE" in done.output.replace("\n", " ")


def test_variants_of_one_agent_are_curves_of_their_own(tmp_path):
    runs = [
        tmp_path / variant / "Pendulum-v1" / str(seed) for variant in ("plain", "large") for seed in (1, 2)
    ]
    for run in runs:
        run.mkdir(parents=True)
        size = "5M" if "large" in run.parts else "1M"
        write_settings(run, RunSettings("Pendulum-v1", seed=int(run.name), model_size=size))
    assert _by_agent(runs) == {
        f"dream_mpc ({runs[0]}, ...)": runs[:2],
        f"dream_mpc ({runs[2]}, ...)": runs[2:],
    }
