"""Render scenes of CLEVR with Blender's Cycles: a script for Blender's Python that imports nothing else of emorl.

    python clevr_blender.py [FOLDER]                                             # with bpy, from PyPI
    blender --background --factory-startup --python clevr_blender.py -- [FOLDER]

Without a folder it prints the version of Blender. With a folder it reads scenes as JSON from stdin, one per line,
renders each to the file FOLDER/NAME.png and then prints NAME. At the end it removes the folder. A scene has

    name        of the file
    size        height and width of the image in pixels
    view        left, upper, right and lower edge of the image in the frame, as fractions of its width and height
    camera      position, target, lens and sensor width in mm; its frame is 4:3
    lamps       positions of the lamps key, fill and back
    objects     shape, material, color, position, rotation about the vertical in degrees, half height

It imports Blender's bpy, which is licensed under GPL-3.0.
"""

import json
import math
import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import bpy
from mathutils import Vector

Color = tuple[float, float, float]

COLORS: dict[str, Color] = {  # CLEVR's, from 0 to 255; Blender reads the fractions of 255 as linear light
    "gray": (87, 87, 87),
    "red": (173, 35, 35),
    "blue": (42, 75, 215),
    "green": (29, 105, 20),
    "brown": (129, 74, 25),
    "purple": (129, 38, 192),
    "cyan": (41, 208, 208),
    "yellow": (255, 238, 51),
}
# The following values were fitted to a published scene: the ground's colors, the shadows and the objects' brightness.
MATERIALS = {  # metallic, roughness, specular
    "rubber": (0.0, 0.7, 0.1),
    "metal": (1.0, 0.25, 0.5),
}
GROUND = (0.8, 0.8, 0.8)
LAMPS: dict[str, tuple[float, float, Color]] = {  # side in m, power in W, color
    "key": (1.0, 62.0, (1.0, 0.93, 0.79)),
    "fill": (1.0, 22.0, (0.73, 0.79, 1.0)),
    "back": (1.0, 23.5, (1.0, 1.0, 1.0)),
}
SUN = (0.58, 0.3, (11.66, -6.63, 25.82))  # irradiance in W/m2, angle in radians, position
WORLD = 0.02  # ambient light
SAMPLES = 16
CUBE_ROUNDING, CYLINDER_ROUNDING = 0.2, 0.08  # of edges, at a half height of 1: as in emorl's label maps


class Studio:
    """A Blender scene with the parts that all images share: ground, lamps, camera, shapes and materials."""

    def __init__(self) -> None:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.scene = bpy.context.scene
        self._set_up_rendering()
        self.camera = self._add("camera", bpy.data.cameras.new("camera"))
        self.scene.camera = self.camera
        self.lamps = {name: self._lamp(name, *look) for name, look in LAMPS.items()}
        self._sun(*SUN)
        self.shapes = {"sphere": sphere(), "cube": cube(), "cylinder": cylinder()}
        self.materials = {(c, m): material(f"{c} {m}", rgb(c), *MATERIALS[m]) for c in COLORS for m in MATERIALS}
        bpy.ops.mesh.primitive_plane_add(size=100)
        bpy.context.object.data.materials.append(material("ground", GROUND, *MATERIALS["rubber"]))

    def paint(self, scene: dict[str, Any], path: str) -> None:
        """Render a scene to a file."""
        objects = self.arrange(scene)
        self.scene.render.filepath = path
        bpy.ops.render.render(write_still=True)
        for thing in objects:
            bpy.data.objects.remove(thing)

    def arrange(self, scene: dict[str, Any]) -> list[Any]:
        """Place camera, lamps and objects, and return the objects."""
        self._aim(scene["size"], scene["view"], scene["camera"])
        for name, place in scene["lamps"].items():
            self.lamps[name].location = place
            self.lamps[name].rotation_euler = toward(place, (0, 0, 0))
        return [self._object(**entry) for entry in scene["objects"]]

    def _set_up_rendering(self) -> None:
        render, cycles = self.scene.render, self.scene.cycles
        render.engine = "CYCLES"
        cycles.device = "CPU"
        cycles.samples = SAMPLES
        cycles.use_adaptive_sampling = False
        cycles.use_denoising = True
        cycles.denoiser = "OPENIMAGEDENOISE"
        cycles.max_bounces = 4
        render.threads_mode, render.threads = "FIXED", 1  # emorl starts several processes
        render.dither_intensity = 0
        render.image_settings.file_format, render.image_settings.color_mode = "PNG", "RGB"
        render.image_settings.compression = 15
        self.scene.view_settings.view_transform = "Standard"
        world = bpy.data.worlds.new("world")
        world.use_nodes = True
        world.node_tree.nodes["Background"].inputs["Color"].default_value = (WORLD, WORLD, WORLD, 1)
        self.scene.world = world

    def _aim(self, size: list[int], view: list[float], camera: dict[str, Any]) -> None:
        """Restrict the camera to a part of the frame by shifting and scaling its sensor."""
        render, lens, (left, upper, right, lower) = self.scene.render, self.camera.data, view
        render.resolution_y, render.resolution_x = size
        render.resolution_percentage = 100
        width = right - left
        lens.sensor_fit, lens.sensor_width, lens.lens = "HORIZONTAL", camera["sensor"] * width, camera["lens"]
        lens.shift_x = ((left + right) / 2 - 0.5) / width
        lens.shift_y = (0.5 - (upper + lower) / 2) * 0.75 / width
        self.camera.location = camera["position"]
        self.camera.rotation_euler = toward(camera["position"], camera["target"])

    def _lamp(self, name: str, side: float, power: float, color: Color) -> Any:
        light = bpy.data.lights.new(name, "AREA")
        light.size, light.energy, light.color = side, power, color
        return self._add(name, light)

    def _sun(self, power: float, angle: float, place: Sequence[float]) -> None:
        light = bpy.data.lights.new("sun", "SUN")
        light.energy, light.angle = power, angle
        self._add("sun", light).rotation_euler = toward(place, (0, 0, 0))

    def _object(
        self, shape: str, material: str, color: str, position: list[float], rotation: float, half_height: float
    ) -> Any:
        thing = self._add("object", self.shapes[shape])
        thing.location, thing.scale = position, (half_height,) * 3
        thing.rotation_euler[2] = math.radians(rotation)
        thing.material_slots[0].link = "OBJECT"
        thing.material_slots[0].material = self.materials[color, material]
        return thing

    def _add(self, name: str, data: Any) -> Any:
        thing = bpy.data.objects.new(name, data)
        self.scene.collection.objects.link(thing)
        return thing


def toward(position: Sequence[float], target: Sequence[float]) -> Any:
    """Return the rotation that points a camera or lamp at a target, upright."""
    return (Vector(target) - Vector(position)).to_track_quat("-Z", "Y").to_euler()


def rgb(color: str) -> Color:
    """Return a color as linear light."""
    red, green, blue = (level / 255 for level in COLORS[color])
    return red, green, blue


def material(name: str, color: Color, metallic: float, roughness: float, specular: float) -> Any:
    """Make a material."""
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    inputs = made.node_tree.nodes["Principled BSDF"].inputs
    inputs["Base Color"].default_value = (*color, 1)
    inputs["Metallic"].default_value = metallic
    inputs["Roughness"].default_value = roughness
    inputs["Specular IOR Level"].default_value = specular
    return made


def sphere() -> Any:
    """Return the mesh of a sphere."""
    bpy.ops.mesh.primitive_uv_sphere_add(radius=1, segments=96, ring_count=48)
    return taken(bpy.context.object)


def cube() -> Any:
    """Return the mesh of a cube with rounded edges."""
    bpy.ops.mesh.primitive_cube_add(size=2)
    return taken(bevelled(bpy.context.object, CUBE_ROUNDING))


def cylinder() -> Any:
    """Return the mesh of a cylinder with rounded edges."""
    bpy.ops.mesh.primitive_cylinder_add(radius=1, depth=2, vertices=128)
    return taken(bevelled(bpy.context.object, CYLINDER_ROUNDING))


def bevelled(thing: Any, radius: float) -> Any:
    """Round the edges of an object."""
    modifier = thing.modifiers.new("bevel", "BEVEL")
    modifier.width, modifier.segments, modifier.limit_method = radius, 8, "ANGLE"
    return thing


def taken(thing: Any) -> Any:
    """Remove an object and return its mesh, with smooth shading and a material slot."""
    mesh = bpy.data.meshes.new_from_object(thing.evaluated_get(bpy.context.evaluated_depsgraph_get()))
    bpy.data.objects.remove(thing)
    for polygon in mesh.polygons:
        polygon.use_smooth = True
    mesh.materials.clear()
    mesh.materials.append(None)
    return mesh


def main(folder: str | None = None) -> None:
    """Render the scenes that arrive on stdin."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keep Blender's output out of the answers
    with suppress(BrokenPipeError):  # emorl has ended
        print(f"emorl renders with Blender {bpy.app.version_string}", file=answers, flush=True)
        if folder is None:
            return
        studio = Studio()
        for line in sys.stdin:
            scene = json.loads(line)
            studio.paint(scene, os.path.join(folder, f"{scene['name']}.png"))
            print(scene["name"], file=answers, flush=True)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)  # which emorl does not do if it was killed


if __name__ == "__main__":
    main(*(sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]))
