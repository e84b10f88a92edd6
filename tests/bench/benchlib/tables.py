# SPDX-License-Identifier: BSD-3-Clause
"""Markdown tables and the files of docs/bench."""

import json

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as pyplot  # noqa: E402  (after the backend was chosen)


def table(header, rows):
    """A markdown table; the first column is text, the others are figures."""
    lines = ["| " + " | ".join(header) + " |",
             "|" + "---|" + "---:|" * (len(header) - 1)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def number(value):
    """Three significant digits, thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def write(folder, name, text, figures):
    """NAME.md for people and NAME.json for programs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    (folder / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")


def rgb(colour):
    """A colour as an image's pixel."""
    return matplotlib.colors.to_rgb(colour)


def patch(colour, label):
    """A legend's entry."""
    return matplotlib.patches.Patch(facecolor=colour, edgecolor="#888888", label=label)


def save_plot(folder, name, figure, bottom=0):
    """NAME.png, small enough for a repository; the lowest share of it is left to a legend."""
    folder.mkdir(parents=True, exist_ok=True)
    figure.tight_layout(rect=(0, bottom, 1, 1))
    figure.savefig(folder / f"{name}.png", dpi=90)
    pyplot.close(figure)
