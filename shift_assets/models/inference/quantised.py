"""An interest model with an int8 item table, for scoring on a CPU.

With a large catalogue the item table is nearly the whole model. Every row has its own scale; products are taken in
bfloat16 where the processor supports it (measured on such a CPU, 512 users × 100,000 items × 128: float32 0.30 s,
torch's dynamic int8 quantisation 0.33 s, this 0.16 s).
"""
# For scoring very large catalogues on a CPU, once a setting selects it.

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from shift_assets.arrays import Float32Array, Int64Array
from shift_assets.models.data.sequences import Sequences
from shift_assets.models.inference.scoring import boost_repeats, user_vectors
from shift_assets.models.network.interest_model import InterestModel
from shift_assets.models.network.precision import has_bfloat16

INT8_MAX = 127


class Int8Rows(nn.Module):
    """Rows [code, dimension] as int8 from -127 to 127 times a scale per row; looked up like an embedding."""

    codes: Tensor
    scales: Tensor

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        scales = (rows.abs().amax(dim=1) / INT8_MAX).clamp(min=torch.finfo(torch.float32).tiny)
        self.register_buffer("codes", (rows / scales[:, None]).round().to(torch.int8))
        self.register_buffer("scales", scales)

    def forward(self, codes: Tensor) -> Tensor:
        """The rows of item codes, as float32."""
        return self.codes[codes].float() * self.scales[codes][:, None]

    def products(self, vectors: Tensor) -> Tensor:
        """Products [vector, code] of `vectors` with every row, as float32."""
        number = torch.bfloat16 if has_bfloat16(self.codes.device) else torch.float32
        return (vectors.to(number) @ self.codes.to(number).T).float() * self.scales


@dataclass(frozen=True)
class QuantisedModel:
    """A model whose item table, with attributes and content added in, is quantised to int8."""

    model: InterestModel
    rows: Int8Rows

    @classmethod
    def of(cls, model: InterestModel) -> QuantisedModel:
        """Quantise a copy of the model."""
        with torch.inference_mode():
            rows = Int8Rows(model.network.eval().item_rows())
        network = copy.deepcopy(model.network)
        network.shape = network.shape._replace(attributes=0, content=0, attribute_entries=0)
        for described in ("attribute", "attribute_offsets", "attribute_codes", "content", "content_vectors"):
            if hasattr(network, described):
                delattr(network, described)
        network.item = rows  # type: ignore[assignment]  # it is looked up like an embedding, and read no other way
        return cls(InterestModel(network, model.vocabulary, model.version), rows)

    @property
    def size(self) -> int:
        """Bytes of all weights."""
        return weight_bytes(self.model.network)


def weight_bytes(network: nn.Module) -> int:
    """Bytes of a network's weights."""
    return sum(value.numel() * value.element_size() for value in network.state_dict().values())


@dataclass(frozen=True)
class QuantisedScorer:
    """Users' logits for all items from a quantised item table, computed block by block.

    `vectors[user, dimension]`, `gates[user, feature]`, `bias[item]`; `repeats` says whether items of the user's history
    are raised.
    """

    histories: Sequences
    vectors: Float32Array
    gates: Float32Array
    rows: Int8Rows
    bias: Float32Array
    repeats: bool

    @classmethod
    def of(cls, quantised: QuantisedModel, histories: Sequences) -> QuantisedScorer:
        network = quantised.model.network
        vectors, gates = user_vectors(quantised.model, histories)
        bias = network.item_bias[1:].detach().cpu().numpy()
        return cls(histories, vectors, gates, quantised.rows, bias, network.shape.repeats)

    def logits(self, users: Int64Array) -> Float32Array:
        """Logits [user, item] of a block of users."""
        with torch.inference_mode():
            products = self.rows.products(torch.from_numpy(self.vectors[users])).numpy()
        block: Float32Array = np.ascontiguousarray(products[:, 1:])
        block += self.bias
        if self.repeats:
            boost_repeats(block, self.histories, self.gates, users)
        return block
