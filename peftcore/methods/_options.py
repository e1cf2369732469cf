"""An immutable mapping of options, so that settings that hold it are hashable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from peftcore import errors


class Options(dict):
    """A frozen dict: equal to the dict of the same items, hashable, and closed to changes."""

    def __hash__(self) -> int:  # type: ignore[override]  # dict has none, as it can be changed
        return hash(json.dumps(self, sort_keys=True))

    def __reduce__(self) -> tuple[type, tuple[dict]]:
        return type(self), (dict(self),)

    def _refuse(self, *_args: Any, **_named: Any) -> NoReturn:
        raise errors.InvalidSetting(
            "Options are frozen; give a changed copy: .replace(options={**options, 'NAME': ...})."
        )

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse


def freeze(value: Any) -> Any:
    """JSON's values with lists as tuples and objects as Options, so that all of it has a hash.

    Raises:
        ValueError: a value that JSON does not have, which no saved spec could hold.
    """
    if isinstance(value, Mapping):
        return Options({str(name): freeze(part) for name, part in value.items()})
    if isinstance(value, (list, tuple)):
        return tuple(map(freeze, value))
    if isinstance(value, (set, frozenset)):
        return tuple(sorted(map(freeze, value), key=str))
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise ValueError(
        f"made of numbers, texts, lists and true, false or null; {value!r} is of type {type(value).__name__}"
    )


def thaw(value: Any) -> Any:
    """The dicts and lists that were frozen."""
    return json.loads(json.dumps(value))
