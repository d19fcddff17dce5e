"""Colors of slots and curves, which stay distinct for color blindness; importable without torch."""

# Okabe and Ito's seven colors, then those farthest from all before for normal sight, deuteranopia and protanopia.
COLORS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (0, 0, 255),
    (204, 238, 153),
    (51, 34, 170),
    (119, 51, 17),
    (102, 119, 255),
    (119, 0, 102),
    (238, 17, 85),
    (85, 221, 170),
)
