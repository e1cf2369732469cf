"""The ledger: which bytes are alive at every moment of a training step, and what each of them is for.

A TorchDispatchMode sees every tensor an operator makes; a weak reference to its storage fires when it dies. Views share
a storage and are counted once. What is inside an operator (a kernel's scratch) is not seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from peftcore.memory.position import Position, trees
from peftcore.memory.reasons import reason
from peftcore.memory.report import COMPONENTS, MemoryReport
from peftcore.memory.timeline import Kept, Timeline

_WEIGHTS = ("frozen_weights", "trainable_weights")


class Ledger(TorchDispatchMode):
    """Follows the live storages of a training step by component.

    Components: frozen_weights and trainable_weights (parameters and buffers of `model`), gradients (.grad of
    trainable leaves), optimizer (tensors in `optimizer.state`), cached_features (all images' frozen features, declared
    where they are kept in this memory), features (the batch's frozen features, declared by `features()`), activations
    (made in forward and held by autograd for backward), and workspace: all else, such as the images, the logits,
    gradients of activations, and what a checkpointed block recomputes in backward. A storage has its component from
    birth: what will be saved is an activation from the moment it is made.

    Tensors that existed before the ledger and belong to none of `model`, `optimizer` and `declare()` are followed from
    their first use. Tensors that a custom Function keeps outside `save_for_backward` count as workspace.

        with Ledger(model, optimizer) as ledger:
            with ledger.phase("forward"): loss = ...
            with ledger.phase("backward"): loss.backward()
            with ledger.phase("optimizer"): optimizer.step(); optimizer.zero_grad(set_to_none=True)
        ledger.peak["total"], ledger.components(), ledger.report()
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer | None = None):
        super().__init__()
        self.optimizer = optimizer
        self._phase: str | None = None
        self._place = ""  # the module whose saved tensor backward has just taken
        self._position = Position(model)
        self._undo = ExitStack()
        # Trainable ones first: a storage that both kinds share is a trainable weight.
        weights = [t for tree in trees(model) for t in (*tree.parameters(), *tree.buffers())]
        self._weights = sorted(dict.fromkeys(weights), key=lambda t: not t.requires_grad)
        self.device = next((t.device for t in weights if t.device.type != "cpu"), torch.device("cpu"))
        self.timeline = Timeline(self.device.type)

    def __enter__(self) -> Ledger:
        for weight in self._weights:
            self.timeline.meet(weight, _WEIGHTS[weight.requires_grad], born=0)
            if weight.grad is not None:
                self.timeline.meet(weight.grad, "gradients", born=0)
            if weight.requires_grad and weight.is_leaf:
                note = weight.register_post_accumulate_grad_hook(lambda weight: self._note(weight.grad, "gradients"))
                self._undo.enter_context(note)
        self._note_optimizer(born=0)
        if self.optimizer is not None:
            self._undo.enter_context(self.optimizer.register_step_post_hook(lambda *_: self._note_optimizer()))
        self._position.follow(self._undo)
        self._undo.enter_context(torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack))
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._undo.close()
        self._advance()
        self.timeline.end()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Names what runs inside, and after it until the next phase: 'forward', 'backward' or 'optimizer'.

        Without any, the ledger tells backward from forward itself.
        """
        self._phase, self._place = name, ""
        yield

    def features(self, tensors: Tensor | Iterable[Tensor]) -> Any:
        """Declares the batch's frozen features, and returns them."""
        return self.declare(tensors, "features")

    def declare(self, tensors: Any, role: str = "workspace") -> Any:
        """Counts these tensors as `role` while they live, and returns them."""
        for tensor in _tensors((tensors,)):
            life = self.timeline.meet(tensor, role)
            if life is not None and life.role not in _WEIGHTS:
                life.role = role
        return tensors

    def explain(self, loss: Tensor) -> None:
        """Records why each tensor below `loss` is kept. To be called between forward and backward; changes nothing."""
        seen, stack = set(), [loss.grad_fn]
        while stack:
            node = stack.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            stack += [following for following, _ in node.next_functions]
            for name in _saved_names(node.__class__):
                saved = getattr(node, name)
                for one in saved if isinstance(saved, (tuple, list)) else (saved,):
                    kept = getattr(one, "data", None)  # what _pack made; unpacking could trigger a recomputation
                    if isinstance(kept, Kept) and kept.life is not None:
                        why = reason(node.name(), name.removeprefix("_raw_saved_"))
                        kept.life.reasons = tuple(dict.fromkeys((*kept.life.reasons, why)))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._advance()
        out = func(*args, **(kwargs or {}))
        for tensor in _tensors(args):
            self.timeline.meet(tensor)
        tick = self.timeline.tick
        for index, tensor in enumerate(_tensors(out if isinstance(out, (tuple, list)) else (out,))):
            life = self.timeline.meet(tensor)
            if life is not None and life.born == tick:
                life.made = (self.timeline.places[tick], func._schema.name.rpartition("::")[2], index)
        return out

    def _advance(self) -> None:
        phase = self._phase or ("backward" if _in_backward() else "forward")
        self.timeline.phases.append(phase)
        self.timeline.places.append(self._position.now or (self._place if phase == "backward" else ""))

    def _pack(self, tensor: Tensor) -> Kept:
        """Autograd saves a tensor. What a recomputation in backward saves is not kept from forward to backward."""
        life, module = None if _in_backward() else self.timeline.meet(tensor), self._position.now
        return Kept(tensor, life, module, self._position.kinds.get(module, "Loss"), self.timeline)

    def _unpack(self, kept: Kept) -> Tensor:
        if kept.tensor._version != kept.version:  # autograd leaves this check to the hooks
            raise RuntimeError(
                f"A tensor {tuple(kept.tensor.shape)} that {kept.module or 'the model'} keeps for backward "
                "was changed in place; use the operation that returns a new tensor."
            )
        self._place = kept.module
        return kept.tensor

    def _note_optimizer(self, born: int | None = None) -> None:
        for state in self.optimizer.state.values() if self.optimizer is not None else ():
            for value in state.values():
                self._note(value, "optimizer", born)

    def _note(self, value: Any, role: str, born: int | None = None) -> None:
        life = self.timeline.meet(value, born=born) if isinstance(value, Tensor) else None
        if life is not None:
            life.role = life.role or role

    def components(self) -> dict[str, int]:
        """Bytes alive now, by component."""
        alive = list(self.timeline.alive.values())
        return {name: sum(life.nbytes for life in alive if life.component() == name) for name in COMPONENTS}

    @property
    def peak(self) -> dict[str, Any]:
        """Bytes by component at the moment of the highest 'total', and its 'phase', 'where' and 'tick'."""
        return self.timeline.peak()

    def report(self, **extra: Any) -> MemoryReport:
        """What was seen so far."""
        top = self.peak
        return MemoryReport(
            peak=top["total"], components={name: top[name] for name in COMPONENTS},
            at={"phase": top["phase"], "where": top["where"]}, curve=self.timeline.curve(),
            activations=[life.row() for life in self.timeline.lives if life.pieces and life.role is None], **extra,
        )  # fmt: skip


@cache
def _saved_names(kind: type) -> tuple[str, ...]:
    return tuple(name for name in dir(kind) if name.startswith("_raw_saved_"))


def _in_backward() -> bool:
    return torch._C._current_graph_task_id() != -1


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """Tensors among arguments or results, lists of them included (fused optimizers)."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from (v for v in value if isinstance(v, Tensor))
