"""Strict conversion of JSON values to typed dataclasses."""

from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from emorl.errors import DataError


def require(condition: bool, where: str, expected: str, got: object) -> None:
    """Raise a `DataError` that names the expected and the actual value unless the condition holds.

    >>> require(len([1, 2]) == 3, "manifest.factors", "3 values", [1, 2])
    Traceback (most recent call last):
    ...
    emorl.errors.DataError: manifest.factors: expected 3 values, got [1, 2]; write the data set again with emorl-data
    """
    if not condition:
        remedy = "write the data set again with emorl-data"
        raise DataError.of(where, expected=expected, got=f"{got!r:.200}", remedy=remedy)


def parse(kind: Any, value: Any, where: str) -> Any:
    """Build a value of an annotated type from JSON values, without any conversion between types.

    Args:
        kind: a dataclass, `tuple`, `dict` with string keys, `Literal`, union of plain types, or plain type.
        value: the value that `json.loads` returned.
        where: location of the value, for error messages.

    Returns:
        The value.

    Raises:
        DataError: on a missing or unknown key, a wrong type or a wrong length.

    >>> parse(tuple[int, int], [35, 35], "image_size")
    (35, 35)
    """
    origin = get_origin(kind)
    if is_dataclass(kind):
        return _parse_object(kind, value, where)
    if origin is tuple:
        return _parse_tuple(get_args(kind), value, where)
    if origin is dict:
        require(isinstance(value, dict), where, "an object", value)
        return {key: parse(get_args(kind)[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin is Literal:
        require(value in get_args(kind), where, f"one of {get_args(kind)}", value)
    else:
        kinds = get_args(kind) if origin is UnionType else (kind,)
        require(type(value) in kinds, where, " or ".join(plain.__name__ for plain in kinds), value)
    return value


def _parse_object(kind: Any, value: Any, where: str) -> Any:
    names = sorted(field.name for field in fields(kind))
    require(isinstance(value, dict), where, f"an object with the keys {names}", value)
    require(sorted(value) == names, where, f"the keys {names}", sorted(value))
    hints = get_type_hints(kind)
    return kind(**{name: parse(hints[name], value[name], f"{where}.{name}") for name in names})


def _parse_tuple(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    require(isinstance(value, list), where, "a list", value)
    if kinds[-1] is ...:
        kinds = kinds[:1] * len(value)
    require(len(value) == len(kinds), where, f"{len(kinds)} values", value)
    return tuple(parse(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True)))
