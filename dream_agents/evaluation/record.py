"""Results in a file that grows while evaluations go on, and from which they go on."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

from dream_agents.evaluation.result import EvaluationResult, plain
from dream_agents.files import replacing, write_json
from dream_agents.versions import package_versions

COLUMNS = (
    "model",
    "planner",
    "options",
    "env",
    "env_kwargs",
    "seed",
    "deterministic",
    "episode",
    "return",
    "length",
    "success",
)

#: what has to be the same for episodes to belong together, and what says it on the command line
_SETTINGS = {
    "checksum": "the weights",
    "env": "--env",
    "env_kwargs": "--set env_kwargs",
    "seed": "--seed",
    "deterministic": "--stochastic",
}


class EvaluationRecord:
    """Results by model and planner, in a JSON file, and their episodes in a CSV file.

    Both files are written under another name and renamed whenever episodes are finished, so they are whole at any
    moment. One process may write them at a time.

    :param path: the JSON file; what it holds already is kept
    :param episodes: the CSV file, a row an episode; None for none
    :raises ValueError: if the JSON file holds something else
    """

    def __init__(self, path: str | Path, episodes: str | Path | None = None):
        self.path, self.episodes_path = Path(path), None if episodes is None else Path(episodes)
        self.results = self._read()

    def _read(self) -> list[EvaluationResult]:
        if not self.path.exists():
            return []
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            return [EvaluationResult.from_dict(values) for values in content["results"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self.path} does not hold results that can be continued ({type(error).__name__}: {error}); "
                "name another file, or delete it"
            ) from error

    def find(
        self, model: str, planner: str, options: dict[str, Any], **settings: Any
    ) -> EvaluationResult | None:
        """Return what there is of a model and a planner with these options.

        :param model: what the user calls the model
        :param planner: name of the planner
        :param options: its options
        :param settings: ``checksum``, ``env``, ``env_kwargs``, ``seed`` and ``deterministic`` of what is to follow
        :raises ValueError: if it was measured with other settings, which must not be mixed
        """
        found = self._place(model, planner, options)
        if found is None:
            return None
        result = self.results[found]
        for name, value in settings.items():
            before, now = plain(getattr(result, name)), plain(value)
            if before != now:
                raise ValueError(
                    f'{self.path} holds results of "{model}" with {planner} for {_SETTINGS[name]} {before}, not {now}; '
                    "name another file, or delete it"
                )
        return result

    def keep(self, result: EvaluationResult) -> None:
        """Write a result in place of what there is of its model and planner, or else after everything.

        :raises ValueError: for returns that are not finite numbers
        """
        for number, value in enumerate(result.returns):
            if not math.isfinite(value):
                raise ValueError(
                    f"episode {number} of {result.env} returned {value}, and {self.path} holds finite numbers only; "
                    "mend the environment's rewards, or keep no results"
                )
        found = self._place(result.model, result.planner, result.planner_options)
        if found is None:
            self.results.append(result)
        else:
            self.results[found] = result
        self.write()

    def write(self) -> None:
        """Write both files."""
        content = {
            "versions": package_versions(),
            "results": [one.to_dict() for one in self.results],
        }
        write_json(self.path, content)
        if self.episodes_path is not None:
            write_episodes(self.episodes_path, self.results)

    def _place(self, model: str, planner: str, options: Any) -> int | None:
        wanted = model, planner, plain(options)
        for place, result in enumerate(self.results):
            if (result.model, result.planner, plain(result.planner_options)) == wanted:
                return place
        return None


def write_episodes(path: Path, results: list[EvaluationResult]) -> None:
    """Write a CSV file with a row an episode; it is replaced in one go."""
    with replacing(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for result in results:
            about = (
                result.model,
                result.planner,
                json.dumps(plain(result.planner_options)),
                result.env,
                json.dumps(plain(result.env_kwargs)),
                result.seed,
                result.deterministic,
            )
            successes = result.successes or ("",) * result.episodes
            episodes = zip(result.returns, result.lengths, successes, strict=True)
            writer.writerows((*about, number, *episode) for number, episode in enumerate(episodes))
