"""A check that the ticks of a figure are readable."""

from itertools import pairwise

from matplotlib.backends.backend_agg import FigureCanvasAgg


def overlapping(figure):
    """Return the neighboring labels of ticks, major and minor, that overlap."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    found = []
    for axes in figure.axes:
        for axis, start in ((axes.xaxis, "x"), (axes.yaxis, "y")):
            low, high = sorted(axis.get_view_interval())
            ticks = [t for t in (*axis.get_major_ticks(), *axis.get_minor_ticks()) if low <= t.get_loc() <= high]
            labels = [tick.label1 for tick in ticks if tick.label1.get_text()]
            boxes = [(label.get_window_extent(canvas.get_renderer()), label.get_text()) for label in labels]
            boxes.sort(key=lambda box: getattr(box[0], f"{start}0"))
            found += [
                (one, other)
                for (before, one), (after, other) in pairwise(boxes)
                if getattr(after, f"{start}0") < getattr(before, f"{start}1")
            ]
    return found
