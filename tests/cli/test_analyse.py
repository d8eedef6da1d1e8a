"""``dream-agents analyse``."""

import csv


def columns(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_true_dynamics_without_any_model(dream_agents_command, tmp_path):
    done = dream_agents_command(
        "analyse", "esnr", "--horizon", 2, "--states", 3, "--samples", 8, "--out", tmp_path
    )
    assert done.exit_code == 0, done.output
    assert "of finite differences in Gymnasium" in done.output
    rows = columns(tmp_path / "gradients.csv")
    assert {(row["dynamics"], row["horizon"]) for row in rows} == {("true", "1"), ("true", "2")}
    assert all((tmp_path / name).stat().st_size > 10_000 for name in ("gradients.png", "esnr.png"))


def test_run_over_its_training(trained, dream_agents_command, tmp_path):
    done = dream_agents_command("analyse", "returns", trained, "--episodes", 2, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    rows = columns(tmp_path / "returns.csv")
    assert {row["decisions"] for row in rows} == {"48", "60"}
    assert len(rows) == 2 * 2 * 12
    assert (tmp_path / "returns.png").stat().st_size > 10_000
    done = dream_agents_command(
        "analyse", "esnr", trained, "--horizon", 2, "--states", 3, "--samples", 4, "--out", tmp_path
    )
    assert done.exit_code == 0, done.output
    assert {row["dynamics"] for row in columns(tmp_path / "gradients.csv")} == {"learned"}


def test_as_many_checkpoints_stay_as_are_asked_for(train, tmp_path):
    done = train(tmp_path / "run", "--checkpoint-every", 12, "--keep-checkpoints", 4)
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "run" / "checkpoints").glob("checkpoint_*"))) == 4
    done = train(tmp_path / "other", "--keep-checkpoints", 0)
    assert done.exit_code != 0 and "--keep-checkpoints 0: at least 1 is needed" in done.output
