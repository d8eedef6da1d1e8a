"""Results as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dream_agents.evaluation.result import EvaluationResult
from dream_agents.files import write_json
from dream_agents.versions import package_versions

if TYPE_CHECKING:
    from rich.table import Table


def results_table(results: Sequence[EvaluationResult], title: str | None = None) -> Table:
    """Make a table with one row a planner, or where there are several models one a model and planner.

    :param results: what :func:`compare` returned, for one model or several
    :param title: stands above; by default environment, episodes and seed
    """
    from rich.table import Table

    has_models = len({result.model for result in results}) > 1
    has_success = any(result.successes is not None for result in results)
    at_once = {result.n_envs for result in results}
    table = Table(title=title or _title(results), caption=_caption(results))
    for column in ["model", "planner"] if has_models else ["planner"]:
        table.add_column(column, no_wrap=True)
    for column in ("return", "95% interval", *(["success"] if has_success else [])):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("ms a decision,\n1 environment", justify="right")
    if at_once != {1}:
        count = f"{min(at_once)} at once" if len(at_once) == 1 else "many at once"
        table.add_column(f"ms a decision,\n{count}", justify="right")
    table.add_column("decisions\na second", justify="right")
    for result in results:
        interval, rate = result.interval, result.success_rate
        cells = [result.model, result.planner] if has_models else [result.planner]
        cells.append(f"{result.mean:.1f} ± {result.std:.1f}")
        cells.append("-" if interval is None else f"{interval[0]:.1f} to {interval[1]:.1f}")
        if has_success:
            cells.append("-" if rate is None else f"{rate:.0%}")
        cells.append(f"{result.latency_ms:.2f}")
        if at_once != {1}:
            cells.append(f"{result.ms_per_decision:.2f}")
        cells.append(f"{result.decisions_per_second:.0f}")
        table.add_row(*cells)
    return table


def _title(results: Sequence[EvaluationResult]) -> str:
    first = results[0]
    count = "1 episode" if first.episodes == 1 else f"{first.episodes} episodes"
    environments = list(dict.fromkeys(result.env for result in results))
    return f"{', '.join(environments)}: {count}, seed {first.seed}"


def _caption(results: Sequence[EvaluationResult]) -> str:
    threads = {f"{one.threads} CPU thread{'s' if one.threads > 1 else ''}" for one in results}
    devices = dict.fromkeys(f"device {one.device}" for one in results)
    spread = "return: mean ± standard deviation over episodes; intervals of the mean"
    return f"{', '.join([*devices, *sorted(threads)])}; {spread}"


def write_results(path: str | Path, results: Sequence[EvaluationResult], **about: Any) -> None:
    """Write results as JSON: ``about``, the packages' versions, and a list ``results``.

    :param path: the file; it is replaced in one go
    :param results: what :func:`compare` returned
    :param about: what else the file is to say, e.g. ``model="tdmpc2-walker-walk"``
    """
    listed = [result.to_dict() for result in results]
    write_json(path, {**about, "versions": package_versions(), "results": listed})
