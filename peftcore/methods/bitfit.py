"""BitFit: only the biases train (Ben Zaken et al., arXiv 2106.10199)."""

from __future__ import annotations

from peftcore.methods._thaw import Thawing


class BitFit(Thawing):
    r"""Paper: Ben Zaken et al., BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked
        Language-models, arXiv 2106.10199
    Equation: y = W x + b,\quad b \leftarrow b - \eta\,\nabla_b L,\quad W \text{ frozen}
    Trains: Every bias of the backbone (linear layers, norms, patch embedding), and the classifier.
    Counts: 11 * L * d + 2 * d
    Choose: A minimal change without any new layer; it needs the memory of LoRA all the same.
    Keeps: A bias needs no input for its own gradient, but that gradient travels through every block: attention, GELU
        and LayerNorm keep their inputs from the first bias on.
    Ours: Separate q and v biases (EVA, BEiT, Swin V2) count as biases. Tables of relative positions and class tokens do
        not.
    """

    title = "BitFit"
    kind = "in-backbone"
    colour = "#1F4E9E"
    dark_colour = "#5C85D6"

    @staticmethod
    def trains(name: str) -> bool:
        leaf = name.rpartition(".")[2]
        return leaf == "bias" or leaf.endswith("_bias")  # timm: bias, q_bias, v_bias, mlp_bias


METHOD = BitFit
