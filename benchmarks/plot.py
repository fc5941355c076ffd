"""The plot: for each case, the time of each peer over jitgrad's."""

from __future__ import annotations

from pathlib import Path

from benchmarks.report import VALUES_ALONE, Results, peers, ratio


def draw(results: Results, path: Path) -> None:
    """Write the picture; its format is told by the path. Needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cases = list(results)
    figure = Figure(figsize=(9, 1.5 + 0.17 * len(cases)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    markers = "osD^vPX"
    for k, name in enumerate(n for n in peers(results) if n not in ("jitgrad", *VALUES_ALONE)):
        points = []
        for y, row in enumerate(results.values()):
            over = ratio(row, name, lambda t: t.minimum)
            if over is not None:
                points.append((1 / over, y))
        if points:
            axes.plot(*zip(*points, strict=True), markers[k % len(markers)], label=name, markersize=5, alpha=0.8)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(cases)), cases, fontsize=7)
    axes.set_ylim(len(cases) - 0.5, -0.5)
    axes.set_xlabel("time of a value and gradient, times jitgrad's")
    axes.grid(axis="x", which="both", alpha=0.3)
    axes.legend(loc="upper right", fontsize=8)
    figure.savefig(path, dpi=150)
