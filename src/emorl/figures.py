"""Figures with lines and bars in colors for color blindness too, those of `emorl.palette`."""

from __future__ import annotations

from typing import Any

from matplotlib import figure
from matplotlib.axes import Axes

from emorl.palette import COLORS

# Blue first; without the yellow, which white hides.
CYCLE = tuple("#{:02x}{:02x}{:02x}".format(*COLORS[place]) for place in (4, 5, 2, 6, 0, 1))


def color(number: int) -> str:
    """Return the color of a case by its number, from 0; after the last color of `CYCLE` the first is next.

    >>> color(0), color(6)
    ('#0072b2', '#0072b2')
    """
    return CYCLE[number % len(CYCLE)]


class Figure(figure.Figure):
    """A figure of matplotlib whose axes take their colors from `CYCLE`, in that order.

    >>> figure = Figure(layout="constrained")
    >>> [line.get_color() for line in figure.add_subplot().plot([0, 1], [[0, 1], [1, 0]])]
    ['#0072b2', '#d55e00']
    """

    def add_subplot(self, *args: Any, **kwargs: Any) -> Axes:
        """Add axes; arguments as in matplotlib."""
        axes: Axes = super().add_subplot(*args, **kwargs)
        axes.set_prop_cycle(color=CYCLE)
        return axes
