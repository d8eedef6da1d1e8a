"""Measure what exported controllers are asked to reach; docs/deploy.md has the figures.

    python scripts/deploy/check.py actions --out deploy.json       # every entry of the zoo that is here, both formats
    python scripts/deploy/check.py returns --out deploy.json --cpp build/walker
    python scripts/deploy/check.py speed --out deploy.json
    python scripts/deploy/check.py light refused --out deploy.json

Each part writes its figures into the JSON file as they come, and leaves out those that it finds there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ENTRY = "dream_mpc-walker-walk"

LIGHT = """
import time
began = time.perf_counter()
from dream_agents.deploy import Controller
controller = Controller({path!r})
controller.act({observation})
seconds = time.perf_counter() - began
import resource, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
assert not {{"torch", "gymnasium"}} & sys.modules.keys()
print(seconds, int(status["VmRSS"].split()[0]) / 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


class Figures:
    """A JSON file of figures, written at each of them."""

    def __init__(self, path: Path):
        self._path = path
        self._found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}

    def has(self, part: str, name: str) -> bool:
        """Whether a figure is there."""
        return name in self._found.get(part, {})

    def add(self, part: str, name: str, figures: Any) -> None:
        """Keep a figure, and print it."""
        self._found.setdefault(part, {})[name] = figures
        self._path.write_text(json.dumps(self._found, indent=1))
        print(f"{part}: {name}: {figures}", flush=True)


def actions(figures: Figures, options: argparse.Namespace) -> None:
    """Differences from ``predict`` on observations of real episodes: each entry, each format."""
    from dream_agents import zoo
    from dream_agents.zoo.catalog import embedded_names

    for format in options.formats:
        for name in options.entries or sorted(embedded_names()):
            if figures.has("actions", f"{name} {format}"):
                continue
            try:
                model = zoo.load(name, device="cpu")
                began = time.perf_counter()
                found = model.export(
                    options.folder / name / name,
                    format,
                    observations=options.observations,
                )
            except Exception as error:
                figures.add("actions", f"{name} {format}", {"error": f"{type(error).__name__}: {error}"})
                continue
            checked = json.loads(found.description.read_text())["checked_against_predict"]
            checked["planner"] = type(model.planner).__name__
            checked["seconds"] = round(time.perf_counter() - began, 1)
            checked["size"] = found.path.stat().st_size
            figures.add("actions", f"{name} {format}", checked)


def returns(figures: Figures, options: argparse.Namespace) -> None:
    """Returns of paired episodes on walker-walk: by ``predict``, by Controller in both formats, and in C++."""
    from dream_agents import make_env, zoo
    from dream_agents.deploy import Controller

    file = options.folder / ENTRY / f"{ENTRY}.onnx"
    model = zoo.load(ENTRY, device="cpu")
    if not file.is_file():
        model.export(file)
    env = make_env("dmc_walker-walk-v0")
    states = []
    for seed in range(options.episodes):
        env.reset(seed=seed)
        data = env.unwrapped.physics.data
        states.append(np.concatenate([data.qpos, data.qvel]))

    def play(decide: Any, begin: Any) -> list[float]:
        found = []
        for seed in range(options.episodes):
            obs, _ = env.reset(seed=seed)
            begin()
            total, ended = 0.0, False
            while not ended:
                obs, reward, terminated, truncated, _ = env.step(decide(obs))
                total, ended = total + float(reward), terminated or truncated
            found.append(total)
        return found

    for suffix in (".onnx", ".pt2"):
        if file.with_suffix(suffix).is_file() and not figures.has("returns", f"Controller {suffix}"):
            controller = Controller(file.with_suffix(suffix))
            figures.add("returns", f"Controller {suffix}", summary(play(controller.act, controller.reset)))
    if options.cpp and not figures.has("returns", "C++"):
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / "states.txt"
            np.savetxt(table, states, fmt="%.17g")
            command = [options.cpp, file, walker_xml(), "--states", table]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(done.stdout)
        found = [float(line.split()[-1]) for line in done.stdout.splitlines() if line.startswith("episode")]
        figures.add("returns", "C++", summary(found))
    if not figures.has("returns", "predict"):
        state: list[Any] = [None]

        def forget() -> None:
            state[0] = None

        def predict(obs: Any) -> Any:
            action, state[0] = model.predict(obs, state[0], deterministic=True)
            return action

        figures.add("returns", "predict", summary(play(predict, forget)))


def walker_xml() -> Path:
    """dm_control's walker."""
    import dm_control

    return Path(dm_control.__file__).parent / "suite" / "walker.xml"


def summary(found: list[float]) -> dict[str, Any]:
    """Mean, standard deviation, and all."""
    return {
        "mean": statistics.mean(found),
        "std": statistics.stdev(found) if len(found) > 1 else 0.0,
        "returns": found,
    }


def speed(figures: Figures, options: argparse.Namespace) -> None:
    """What ``dream-agents bench --deploy`` measures."""
    from dream_agents.evaluation.benchmark import as_dict
    from dream_agents.evaluation.deploy_benchmark import run_deploy_benchmark

    rows = run_deploy_benchmark(progress=lambda step: print(step, file=sys.stderr, flush=True))
    figures.add("speed", "bench", as_dict(rows))


def light(figures: Figures, options: argparse.Namespace) -> None:
    """Seconds and memory of fresh processes up to their first action."""
    file = options.folder / ENTRY / f"{ENTRY}.onnx"
    code = LIGHT.format(path=str(file), observation="__import__('numpy').zeros(24, 'float32')")
    found = []
    for _ in range(options.processes + 1):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        found.append([float(number) for number in done.stdout.split()])
    seconds, resident, largest = (statistics.median(column) for column in zip(*found[1:], strict=True))
    figures.add("light", ENTRY, {"seconds": seconds, "resident_MB": resident, "largest_resident_MB": largest})


def refused(figures: Figures, options: argparse.Namespace) -> None:
    """What is not to be run, and the reason that is given."""
    import onnx
    from onnx import numpy_helper

    from dream_agents.deploy import Controller

    file = options.folder / ENTRY / f"{ENTRY}.onnx"
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(shutil.copytree(file.parent, Path(folder) / "changed")) / file.name
        model = onnx.load(changed)
        weight = max(model.graph.initializer, key=lambda value: np.prod(value.dims))
        values = numpy_helper.to_array(weight).copy()
        values.flat[0] += 1e-3
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))
        onnx.save(model, changed)
        figures.add("refused", "one weight changed", reason(lambda: Controller(changed)))

        others = [path for path in options.folder.glob("*/controller.json") if path.parent != file.parent]
        if others:
            other = Path(shutil.copytree(file.parent, Path(folder) / "other"))
            content = json.loads(others[0].read_text())
            content["files"] = {file.name: next(iter(content["files"].values()))}
            (other / "controller.json").write_text(json.dumps(content))
            figures.add("refused", "another's controller.json", reason(lambda: Controller(other / file.name)))
        controller = Controller(file)
        for name, observation in {
            "observation of 23 numbers": np.zeros(23),
            "observation that is not a number": np.full(24, np.nan),
        }.items():
            figures.add("refused", name, reason(lambda given=observation: controller.act(given)))


def reason(call: Any) -> str:
    """The message of the ControllerError that a call raises."""
    from dream_agents.deploy import ControllerError

    try:
        call()
    except ControllerError as error:
        return str(error)
    raise SystemExit("was not refused")


PARTS = {"actions": actions, "returns": returns, "speed": speed, "light": light, "refused": refused}


def main() -> None:
    """Measure the parts that are named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--out", type=Path, default=Path("deploy.json"), help="figures")
    parser.add_argument("--folder", type=Path, default=Path("deploy"), help="where files are exported to")
    parser.add_argument("--observations", type=int, default=1000, help="for each entry and format")
    parser.add_argument("--entries", nargs="+", help="of the zoo; by default all that are here")
    parser.add_argument("--formats", nargs="+", default=["onnx", "pt2"])
    parser.add_argument("--episodes", type=int, default=20, help="for each way to decide")
    parser.add_argument("--processes", type=int, default=5, help="fresh processes")
    parser.add_argument("--cpp", help="the program of examples/cpp, where it was built")
    options = parser.parse_args()
    figures = Figures(options.out)
    for part in options.parts:
        PARTS[part](figures, options)


if __name__ == "__main__":
    main()
