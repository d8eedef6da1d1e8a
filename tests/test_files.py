"""Files that are whole whenever somebody reads them."""

import os

import pytest

from dream_agents.files import is_being_written, only_writer, replacing


def test_two_processes_may_write_one_file(tmp_path, monkeypatch):
    path, other = tmp_path / "results.csv", os.getpid() + 1
    with replacing(path) as file:
        file.write("first")
        with monkeypatch.context() as another:
            another.setattr("os.getpid", lambda: other)
            with replacing(path) as file_of_the_other:
                file_of_the_other.write("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("before")
    with pytest.raises(AttributeError), replacing(path) as file:
        file.nothing_like_it()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_says_whether_somebody_writes_to_it(tmp_path):
    assert not is_being_written(tmp_path)
    with only_writer(tmp_path):
        assert is_being_written(tmp_path)
    assert not is_being_written(tmp_path)
