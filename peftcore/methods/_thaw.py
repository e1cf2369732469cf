"""Makes some of a cloned backbone's own weights trainable, in copies that the shared backbone never sees."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn


class Thawed(nn.Module):
    """The thawed parameters under timm's own names. Dots are kept by overriding how state is read and written."""

    def __init__(self, parameters: dict[str, nn.Parameter]):
        super().__init__()
        self.names = tuple(parameters)
        for name, parameter in parameters.items():
            self.register_parameter(_flat(name), parameter)
        self._register_state_dict_hook(
            lambda module, state, prefix, _: _rename(state, prefix, module.names, _flat, str)
        )
        self.register_load_state_dict_pre_hook(
            lambda module, state, prefix, *_: _rename(state, prefix, module.names, str, _flat)
        )


def _flat(name: str) -> str:
    return name.replace(".", "/")  # a parameter's own name may not hold a dot


def _rename(state: dict, prefix: str, names: tuple[str, ...], old: Callable, new: Callable) -> None:
    for name in names:
        if prefix + old(name) in state:
            state[prefix + new(name)] = state.pop(prefix + old(name))


def thaw(module: nn.Module, chosen: Callable[[str], bool]) -> Thawed:
    """Replaces the parameters of `module` whose name is `chosen` by trainable copies, and returns those."""
    copies: dict[int, nn.Parameter] = {}
    thawed: dict[str, nn.Parameter] = {}
    for name, parameter in list(module.named_parameters()):
        if not chosen(name):
            continue
        owner, _, leaf = name.rpartition(".")
        copy = copies.setdefault(id(parameter), nn.Parameter(parameter.detach().clone()))
        setattr(module.get_submodule(owner), leaf, copy)
        thawed[name] = copy
    return Thawed(thawed)
