"""The ledger: which bytes are alive at every moment of a training step, and what each of them is for.

A TorchDispatchMode sees every tensor an operator makes; a weak reference to its storage tells when it dies.
Views share a storage and are counted once. What is inside an operator (a kernel's scratch) is not seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from peftcore.memory.lifetimes import Kept, Life
from peftcore.memory.modules import Whereabouts, trees
from peftcore.memory.reasons import explain
from peftcore.memory.report import COMPONENTS, MemoryReport
from peftcore.memory.timeline import curve, peak

_PLAIN = (torch.strided,)


class Ledger(TorchDispatchMode):
    """Follows the live storages of a training step by component.

    Components: frozen_weights and trainable_weights (parameters and buffers of `model`), gradients (.grad of
    trainable leaves), optimizer (tensors in `optimizer.state`), features (declared by `features()` or made in
    `region("features")`), activations (made in forward and held by autograd for backward), and workspace: all
    else, among it the images, the logits, gradients of activations, and what a checkpointed block recomputes
    in backward. A storage has its component from birth: what will be saved is an activation from the moment
    it is made.

    Tensors that existed before the ledger and belong to none of `model`, `optimizer` and `declare()` are
    followed from their first use. Tensors that a custom Function keeps outside `save_for_backward` count as
    workspace.

        with Ledger(model, optimizer) as ledger:
            with ledger.phase("forward"): loss = ...
            with ledger.phase("backward"): loss.backward()
            with ledger.phase("optimizer"): optimizer.step(); optimizer.zero_grad(set_to_none=True)
        ledger.peak["total"], ledger.curve(), ledger.report()
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer | None = None):
        super().__init__()
        self.model, self.optimizer = model, optimizer
        self.lives: list[Life] = []
        self.tick = 0
        self.live_bytes = 0
        self._alive: dict[int, Life] = {}
        self._phases, self._places = ["forward"], [""]
        self._phase: str | None = None
        self._place = ""
        self._whereabouts = Whereabouts(model)
        self._handles: list[Any] = []
        weights = [t for tree in trees(model) for t in (*tree.parameters(), *tree.buffers())]
        self._parameters = list({id(t): t for t in weights if isinstance(t, nn.Parameter)}.values())
        # Trainable ones first: a storage that both kinds share is a trainable weight.
        self._weights = sorted(weights, key=lambda t: not t.requires_grad)
        self.device = next((t.device for t in weights if t.device.type != "cpu"), torch.device("cpu"))

    # -- entering and leaving

    def __enter__(self) -> Ledger:
        for weight in self._weights:
            self._meet(weight, born=0, role="trainable_weights" if weight.requires_grad else "frozen_weights")
        for parameter in self._parameters:
            if parameter.grad is not None:
                self._meet(parameter.grad, born=0, role="gradients")
            if parameter.requires_grad and parameter.is_leaf:
                self._handles.append(parameter.register_post_accumulate_grad_hook(self._note_gradient))
        self._note_optimizer(born=0)
        if self.optimizer is not None:
            self._handles.append(self.optimizer.register_step_post_hook(lambda *_: self._note_optimizer()))
        self._whereabouts.follow()
        self._saving = torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack)
        self._saving.__enter__()
        return super().__enter__()

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        self._saving.__exit__(*error)
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._whereabouts.stop()
        self._saving = None  # its hooks are this ledger's: without this, the two would keep each other alive
        self._advance()
        for life in self.lives:  # what outlives the ledger is followed no further
            life.reference = None
        self._alive.clear()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Name what runs inside, and after it until the next one: 'forward', 'backward' or 'optimizer'.

        Without any, backward is told from forward.
        """
        self._phase, self._place = name, ""
        yield

    @contextmanager
    def region(self, role: str = "features") -> Iterator[None]:
        """What is made inside and still lives at its end is `role`; by default frozen features."""
        start = self.tick
        yield
        for life in list(self._alive.values()):
            if life.born > start and life.role is None:
                life.role = role

    def features(self, tensors: Tensor | Iterable[Tensor]) -> Any:
        """Declare frozen features; gives back what it was given."""
        return self.declare(tensors, "features")

    def declare(self, tensors: Any, role: str = "workspace") -> Any:
        """Count these tensors as `role` while they live; gives back what it got."""
        for tensor in _tensors((tensors,)):
            life = self._meet(tensor, role=role)
            if life is not None and life.role not in ("frozen_weights", "trainable_weights"):
                life.role = role
        return tensors

    def explain(self, loss: Tensor) -> None:
        """Note why each tensor below `loss` is kept. For between forward and backward; changes nothing."""
        explain(loss)

    # -- what PyTorch tells

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self._advance()
        out = func(*args, **(kwargs or {}))
        for tensor in _tensors(args):
            self._meet(tensor)
        for index, tensor in enumerate(_tensors(out if isinstance(out, (tuple, list)) else (out,))):
            life = self._meet(tensor)
            if life is not None and life.born == self.tick:
                life.made = (self._places[self.tick], func._schema.name.rpartition("::")[2], index)
        return out

    def _advance(self) -> None:
        """One operator further: note the phase and the module under way."""
        self.tick += 1
        phase = self._phase or ("backward" if _in_backward() else "forward")
        self._phases.append(phase)
        self._places.append(self._whereabouts.now or (self._place if phase == "backward" else ""))

    def _meet(self, tensor: Tensor, born: int | None = None, role: str | None = None) -> Life | None:
        """The life of a tensor's storage, begun where it is new; None where it has no storage here."""
        if tensor.layout not in _PLAIN or tensor.device.type != self.device.type:
            return None
        storage = tensor.untyped_storage()
        life = self._alive.get(storage._cdata)
        nbytes = storage.nbytes()
        if life is None:
            if role is None and isinstance(tensor, nn.Parameter):  # a weight outside the model that was named
                born, role = 0, "trainable_weights" if tensor.requires_grad else "frozen_weights"
            life = Life(nbytes, self.tick if born is None else born, role=role)
            life.reference = weakref.ref(storage, lambda _, key=storage._cdata: self._bury(key))
            self._alive[storage._cdata] = life
            self.lives.append(life)
            self.live_bytes += nbytes
        elif nbytes != life.nbytes:  # resized in place: counted at its largest
            self.live_bytes += max(nbytes - life.nbytes, 0)
            life.nbytes = max(nbytes, life.nbytes)
        return life

    def _bury(self, key: int) -> None:
        life = self._alive.pop(key)
        life.died = self.tick
        self.live_bytes -= life.nbytes

    def _pack(self, tensor: Tensor) -> Kept:
        """Autograd saves a tensor. Kept holds it exactly as long as autograd itself would."""
        # What a recomputation in backward saves is not kept from forward to backward.
        life = None if _in_backward() else self._meet(tensor)
        module = self._whereabouts.now
        if life is not None:
            life.keep(tensor, module or "loss", self._whereabouts.kinds.get(module, "Loss"))
        return Kept(tensor, life, module, self)

    def _unpack(self, kept: Kept) -> Tensor:
        if kept.tensor._version != kept.version:  # autograd leaves this check to the hooks
            raise RuntimeError(
                f"A tensor {tuple(kept.tensor.shape)} that {kept.module or 'the model'} keeps for backward "
                "was changed in place; use the operation that returns a new tensor."
            )
        self._place = kept.module
        return kept.tensor

    def _note_gradient(self, parameter: Tensor) -> None:
        if parameter.grad is not None:
            life = self._meet(parameter.grad)
            if life is not None and life.role is None:
                life.role = "gradients"

    def _note_optimizer(self, born: int | None = None) -> None:
        for state in self.optimizer.state.values() if self.optimizer is not None else ():
            for value in state.values():
                if isinstance(value, Tensor):
                    life = self._meet(value, born=born)
                    if life is not None:
                        life.role = life.role or "optimizer"

    # -- what it says

    def components(self) -> dict[str, int]:
        """Bytes alive now, by component."""
        now = dict.fromkeys(COMPONENTS, 0)
        for life in list(self._alive.values()):
            now[life.component()] += life.nbytes
        return now

    @property
    def peak(self) -> dict[str, Any]:
        """Bytes by component at the moment of the highest 'total', and its 'phase', 'where' and 'tick'."""
        return peak(self.lives, self._phases, self._places)

    def curve(self, points: int = 240) -> list[dict[str, Any]]:
        """The step: at most `points` moments, the peak and both ends of each phase always among them."""
        return curve(self.lives, self._phases, self._places, points)

    def report(self, **extra: Any) -> MemoryReport:
        """What was seen so far as a MemoryReport."""
        top = self.peak
        return MemoryReport(
            peak=top["total"],
            components={name: top[name] for name in COMPONENTS},
            at={"phase": top["phase"], "where": top["where"]},
            curve=tuple(self.curve()),
            activations=tuple(life.row() for life in self.lives if life.pieces and life.role is None),
            **extra,
        )


def _in_backward() -> bool:
    return torch._C._current_graph_task_id() != -1


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """Tensors among arguments or results, lists of them included (fused optimizers)."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from (v for v in value if isinstance(v, Tensor))
