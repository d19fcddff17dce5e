"""ClevrTex as published: https://www.robots.ox.ac.uk/~vgg/data/clevrtex/.

The layout is that of `generate.py`, which wrote the data set, and `clevrtex_eval.py`, which reads it, both in
https://github.com/karazijal/clevrtex-generation. It was not compared with the published archives:

    clevrtex_full/0/CLEVRTEX_full_000000.png        the image; an alpha channel is dropped
    clevrtex_full/0/CLEVRTEX_full_000000_flat.png   a palette image whose indices are the numbers of the objects
    clevrtex_full/0/CLEVRTEX_full_000000.json       the objects: index from 1, shape, size, material, 3d_coords, ...

A folder such as `0` holds a thousand scenes. Other files of a scene (albedo, depth, normals, shadow) are not read.
"""

import json
import re
from collections.abc import Iterator
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from emorl.data.images import files_provenance, read_colors, read_labels, renumber
from emorl.data.records import Factor, Record, Source, Value
from emorl.errors import DataError

SCENES = {"full": 50000, "pbg": 20000, "vbg": 20000, "grassbg": 20000, "camo": 20000, "outd": 10000}

_NAME = re.compile(r"CLEVRTEX_([a-z]+)_(\d{6})\.png")
_UNPACK = "unpack all parts of the variant's archive (again)"

_SIZES = ("large", "medium", "small")
_COLORS = ("blue", "brown", "cyan", "gray", "green", "purple", "red", "yellow")
_SHAPES = ("cube", "cylinder", "monkey", "sphere")
_OUTD_SHAPES = ("cone", "icosahedron", "teapot", "torus")
_VBG_MATERIALS = ("mymetal", "rubber")


def _poliigon(names: str) -> tuple[str, ...]:
    return tuple(f"poliigon{name}" for name in names.split())


# Names as in the data set. Its poliigonfabricupholsterybrightanglepattern001 shows another material (its ERRATA.md).
_MATERIALS = (
    *_poliigon("""
    bricks01 bricksflemishred001 brickspaintedwhite001 carpettwistnatural001 chainmailcopperroundedthin001
    citystreetasphaltgenericcracked002 citystreetroadasphalttwolaneworn001 cliffjagged004 cobblestonearches002
    concretewall001 fabricdenim003 fabricfleece001 fabricleatherbuffalorustic001 fabricrope001
    fabricupholsterybrightanglepattern001 groundclay002 grounddirtforest014 grounddirtrocky002 groundforest003
    groundforest008 groundforestmulch001 groundforestroots001 groundmoss001 groundsnowpitted003
    groundtiretracks001 interiordesignrugstarrynight001 marble062 marble13 metalcorrodedheavy001
    metalcorrugatedironsheet002 metaldesignerweavesteel002 metalpanelrectangular001 metalspottydiscoloration001
    metalstainlesssteelbrushed plaster07 plaster17 roadcityworn001 rooftilesterracotta004 rustmixedonpaint012
    rustplain007 solarpanelspolycrystallinetypebframedclean001 stonebricksbeige015 stonemarblecalacatta004
    terrazzovenetianmattewhite001 tiles05 tilesmarblechevroncreamgrey001 tilesmarblesagegreenbrickbondhoned001
    tilesonyxopaloblack001 tilesrectangularmirrorgray001 wallmedieval003 waterdropletsmixedbubbled001
    woodfinedark004 woodflooring044 woodflooring061 woodflooringmahoganyafricansanded001
    woodflooringmerbaubrickbondnatural001 woodplanks028 woodplanksworn33 woodquarteredchiffon001
    """),
    "whitemarble",
)
_OUTD_MATERIALS = _poliigon("""
    brickoldred001 carpetplushdesignerrhombus001 chainmailgoldrounded001 chippedpaint015 cliffjagged007
    drywallprepared007 fabricupholsterypyramidspattern001 groundclay006 groundclay008 grounddirtforestroots004
    grounddirtrocky006 groundgrassgreen groundrocky006 groundrocky014 groundsandfootprintsleaves001
    metalsiding004 metalstainlesssteelbraided001 panelsacousticfoamtiles004 plastersloppy rooftilesceramic001
    rooftilescopper003 rooftilesquarry001 rustplain030 steelfloordiamond001 tilesterrazzopalladianahonedgreen001
""")


class ClevrTexFolder(Source):
    """A source over one variant of ClevrTex, in the order of the scenes' indices.

    Factors are shape, size, material, position x, y, z and rotation in degrees. Color is a factor only in the variant
    vbg, because in others the material hides it.

    Args:
        path: the unpacked folder of the variant.

    Raises:
        DataError: if the folder does not contain images of exactly one variant, or if their indices have gaps.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "CLEVRTEX_full_000000.png").touch()
    >>> source = ClevrTexFolder(folder)
    >>> source.variant, len(source.paths), source.splits["test"]
    ('full', 1, range(0, 5000))
    """

    dataset = "clevrtex"
    image_size = (240, 320)
    max_objects = 10
    random_access = True

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self.variant, self.paths = _find_images(self.path)
        self.factors = factors_of(self.variant)

    @cached_property
    def provenance(self) -> dict[str, str | int]:
        """Name of the folder, number and checksum of the images, label maps and metadata."""
        return files_provenance(self.path, [file for path in self.paths for file in (path, *_companions(path))])

    @property
    def splits(self) -> dict[str, range]:
        """The published splits: test the first tenth, val the second, train the rest; in outd everything is test."""
        scenes = SCENES[self.variant]
        if self.variant == "outd":
            return {"test": range(scenes)}
        tenth = scenes // 10
        return {"train": range(2 * tenth, scenes), "val": range(tenth, 2 * tenth), "test": range(tenth)}

    def require(self, split: str, scenes: int) -> None:
        """Check that the scenes up to the end of a split exist, since archives are published in parts.

        Raises:
            DataError: if they do not.
        """
        if scenes > len(self.paths):
            expected, remedy = f"{scenes} images for the split {split}", f"{_UNPACK}, or choose smaller splits"
            raise DataError.of(self.path, expected=expected, got=f"{len(self.paths)}", remedy=remedy)

    def records(self, start: int = 0) -> Iterator[Record]:
        """Yield the scenes from index `start` on.

        Raises:
            DataError: if an image, label map or metadata file is missing or damaged, or if they are inconsistent.
        """
        return map(self._scene, self.paths[start:])

    def _scene(self, path: Path) -> Record:
        flat, metadata = _companions(path)
        image = read_colors(path, _UNPACK)
        segmentation, labels = renumber(read_labels(flat), flat)
        objects = _read_objects(metadata, tuple(factor.name for factor in self.factors if factor.kind == "discrete"))
        if strangers := [label for label in labels if label not in objects]:
            expected = f"labels of the objects in {metadata.name}"
            raise DataError.of(flat, expected=expected, got=f"{strangers}", remedy=_UNPACK)
        return Record(image, segmentation, [objects[label] for label in labels])


def factors_of(variant: str) -> tuple[Factor, ...]:
    """Return the factors of the objects of a variant.

    >>> [factor.name for factor in factors_of("full")]
    ['shape', 'size', 'material', 'x', 'y', 'z', 'rotation']
    """
    shapes = _OUTD_SHAPES if variant == "outd" else _SHAPES
    materials = {"outd": _OUTD_MATERIALS, "vbg": _VBG_MATERIALS}.get(variant, _MATERIALS)
    color = (Factor("color", "discrete", _COLORS),) if variant == "vbg" else ()
    return (
        Factor("shape", "discrete", shapes),
        Factor("size", "discrete", _SIZES),
        Factor("material", "discrete", materials),
        *color,
        *(Factor(name, "continuous") for name in ("x", "y", "z", "rotation")),
    )


def _find_images(folder: Path) -> tuple[str, list[Path]]:
    """Return the variant and its images, in order."""
    matches = ((_NAME.fullmatch(path.name), path) for path in folder.rglob("*.png"))
    found = sorted((match[1], match[2], path) for match, path in matches if match)
    variants = sorted({variant for variant, _, _ in found})
    if len(variants) != 1 or variants[0] not in SCENES:
        expected = f"images CLEVRTEX_<variant>_<index>.png of one variant of {', '.join(SCENES)}"
        got, remedy = " and ".join(variants) or "none", "give the unpacked folder of one variant"
        raise DataError.of(folder, expected=expected, got=got, remedy=remedy)
    for number, (_, index, path) in enumerate(found):
        if int(index) != number:
            expected = f"the image with the index {number:06d} once"
            raise DataError.of(folder, expected=expected, got=path.name, remedy=_UNPACK)
    return variants[0], [path for _, _, path in found]


def _companions(path: Path) -> tuple[Path, Path]:
    """Return the paths of an image's label map and metadata."""
    return path.with_name(f"{path.stem}_flat.png"), path.with_suffix(".json")


def _read_objects(path: Path, names: tuple[str, ...]) -> dict[int, dict[str, Value]]:
    """Return the factors of each object by its label; `names` are the names of the discrete factors."""
    try:
        return {entry["index"]: _factors(entry, names) for entry in json.loads(path.read_bytes())["objects"]}
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {_UNPACK}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        expected = "the metadata of a scene"
        raise DataError.of(path, expected=expected, got=f"{error!r}", remedy=_UNPACK) from error


def _factors(entry: dict[str, Any], names: tuple[str, ...]) -> dict[str, Value]:
    x, y, z = map(float, entry["3d_coords"])
    return {**{name: entry[name] for name in names}, "x": x, "y": y, "z": z, "rotation": float(entry["rotation"])}
