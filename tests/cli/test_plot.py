"""``dream-agents plot`` of evaluation results; of runs it is tested with the run that test_listings trains."""


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
