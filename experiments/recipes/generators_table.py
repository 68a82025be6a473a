"""The table of generators, as markdown."""

from collections.abc import Sequence
from typing import Any

import numpy as np

_TITLES = {
    "families": "LSTM and transformer, small and base",
    "transformer": "The transformer's options, one at a time",
    "lstm": "The LSTM's options, one at a time",
}


def _mean(values: Sequence[float], digits: int) -> str:
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def _row(name: str, runs: list[dict[str, Any]], first: list[dict[str, Any]]) -> str:
    done = [run for run in runs if "failed" not in run]
    if not runs:
        return f"| {name} | 0 | not trained | | | | | | | |"
    if not done:
        return f"| {name} | {len(runs)} | failed: {runs[0]['failed']} | | | | | | | |"
    held = [run["validation"]["bits_per_note"] for run in done]
    change = ""
    if runs is not first:
        base = {run["seed"]: run["validation"]["bits_per_note"] for run in first
                if "failed" not in run}  # fmt: skip
        pairs = [run["validation"]["bits_per_note"] - base[run["seed"]] for run in done
                 if run["seed"] in base]  # fmt: skip
        if pairs:
            spread = f" ± {np.std(pairs, ddof=1):.2f}" if len(pairs) > 1 else ""
            change = f"{np.mean(pairs):+.2f}{spread}"
    cells = [
        name,
        str(len(done)),
        _mean(held, 2),
        change,
        f"{np.mean([run['validation']['bits_per_event'] for run in done]):.2f}",
        f"{np.mean([run['train']['token_accuracy'] for run in done]):.3f}",
        f"{np.mean([run['validation']['token_accuracy'] for run in done]):.3f}",
        f"{np.median([run['tokens_per_second'] for run in done]):,.0f}",
        f"{np.mean([run['peak_mib'] for run in done]):,.0f}",
        f"{done[0]['weights'] / 1e6:.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def markdown(results: list[dict[str, Any]], rows: Sequence[tuple[str, str]]) -> str:
    """One table a group; ± is the deviation over seeds, of differences seed by seed.

    Args:
        results: one a run.
        rows: group and name of every row there is; those without a run are listed too.
    """
    lines = []
    for group, title in _TITLES.items():
        named: dict[str, list[dict[str, Any]]] = {name: [] for own, name in rows if own == group}
        for result in results:
            if result["group"] == group:
                named[result["name"]].append(result)
        if not any(named.values()):
            continue
        lines += [
            f"### {title}",
            "",
            "| row | seeds | bits a note | beside the first | bits an event | accuracy, train "
            "| held out | tokens/s | peak MiB | M weights |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
        first = next(iter(named.values()))
        for name, runs in named.items():
            lines.append(_row(name.removeprefix(f"{group}_"), runs, first))
        lines.append("")
    return "\n".join(lines)
