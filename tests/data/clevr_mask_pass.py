"""A script for Blender's Python: the label map of a scene by a separate rendering pass, for comparison.

    python clevr_mask_pass.py FOLDER_OF_OUR_SCRIPT SCENE.json MASK.png

Object i shines with i * 20 / 255, seen by one sample at the center of each pixel; nothing else does.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])

import bpy
import clevr_blender


def glow(level):
    made = bpy.data.materials.new("glow")
    made.use_nodes = True
    nodes, links = made.node_tree.nodes, made.node_tree.links
    nodes.clear()
    emission, output = nodes.new("ShaderNodeEmission"), nodes.new("ShaderNodeOutputMaterial")
    emission.inputs[0].default_value = (level, level, level, 1)
    links.new(emission.outputs[0], output.inputs[0])
    return made


studio = clevr_blender.Studio()
things = studio.arrange(json.loads(Path(sys.argv[2]).read_text()))
for label, thing in enumerate(things, start=1):
    thing.material_slots[0].material = glow(label * 20 / 255)
bpy.data.objects["Plane"].data.materials[0] = glow(0)
scene = studio.scene
scene.cycles.samples, scene.cycles.use_denoising, scene.cycles.max_bounces = 1, False, 0
scene.cycles.pixel_filter_type, scene.cycles.filter_width = "BOX", 0.01
scene.view_settings.view_transform = "Raw"
scene.render.filepath = sys.argv[3]
bpy.ops.render.render(write_still=True)
