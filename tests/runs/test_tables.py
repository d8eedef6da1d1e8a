from dream_agents.runs import RunTable


def test_table_keeps_empty_cells_and_drops_half_a_row(tmp_path):
    path = tmp_path / "log.csv"
    log = RunTable(path, ("decisions", "success"), 0)
    log.write(decisions=1, success="")
    log.write(decisions=2, success=0.5)
    with path.open("a") as file:
        file.write("3,0")
    assert RunTable(path, ("decisions", "success"), 3).kept == [
        {"decisions": "1", "success": ""},
        {"decisions": "2", "success": "0.5"},
    ]
    assert path.read_text() == "decisions,success\n1,\n2,0.5\n"


def test_rows_after_the_decision_that_a_run_goes_on_from_are_dropped(tmp_path):
    path = tmp_path / "log.csv"
    log = RunTable(path, ("decisions",), 0)
    for decisions in (10, 20, 30):
        log.write(decisions=decisions)
    RunTable(path, ("decisions",), 20)
    assert path.read_text() == "decisions\n10\n20\n"
