"""The weights of a shipped ``.tflite`` file, read back: what independent implementations are built from.

The constants of the file are taken by their names (:mod:`edge_agent.forge.export.tflite` gives them) and
turned into float32, so that another implementation of the same weights differs from the runtime only by how
it computes: its activations are not quantised.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edge_agent.forge.encoders.weights import EncoderWeights, LayerWeights, Linear, Norm

Array = NDArray[np.float32]


def read_encoder_weights(path: str | Path) -> EncoderWeights:
    """The float32 weights that a file of :func:`edge_agent.forge.export.tflite.export_encoder` stands for.

    Raises:
        KeyError: the file is not of that kind.
    """
    constants = _Constants(path)
    count = sum(name.endswith("/query/weight") for name in constants.names)
    heads, size = constants.shape("layer0/query/split")[1:]
    slots = constants.linear("slot_logits") if "slot_logits/weight" in constants.names else None
    return EncoderWeights(
        words=constants.array("words"),
        positions=constants.array("positions"),
        embedding_norm=constants.norm("embedding_norm"),
        layers=tuple(_layer(constants, f"layer{number}", np.sqrt(size)) for number in range(count)),
        heads=heads,
        epsilon=float(constants.array("embedding_norm/epsilon").item()),
        label_head=constants.linear("label_logits"),
        slot_head=slots,
    )


class _Constants:
    """Constant tensors of a file by name."""

    def __init__(self, path: str | Path) -> None:
        self._interpreter = Interpreter(model_path=str(path))
        details: list[dict[str, Any]] = self._interpreter.get_tensor_details()
        self._details = {each["name"]: each for each in details}

    @property
    def names(self) -> set[str]:
        return set(self._details)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(int(size) for size in self._details[name]["shape"])

    def array(self, name: str) -> Array:
        """A constant as float32; int8 rows times their scales."""
        details = self._details[name]
        values: Array = np.array(self._interpreter.get_tensor(details["index"]), np.float32)
        scales: Array = details["quantization_parameters"]["scales"]
        if scales.size:
            values *= scales.reshape(-1, *[1] * (values.ndim - 1))
        return values

    def linear(self, name: str) -> Linear:
        return Linear(self.array(f"{name}/weight"), self.array(f"{name}/bias"))

    def norm(self, name: str) -> Norm:
        return Norm(self.array(f"{name}/gain").reshape(-1), self.array(f"{name}/offset").reshape(-1))


def _layer(constants: _Constants, name: str, query_scale: float) -> LayerWeights:
    query = constants.linear(f"{name}/query")
    scale = np.float32(query_scale)  # the exporter folds 1/sqrt(d) into the query
    return LayerWeights(
        query=Linear(query.weight * scale, query.bias * scale),
        key=constants.linear(f"{name}/key"),
        value=constants.linear(f"{name}/value"),
        attention_output=constants.linear(f"{name}/attention_output"),
        attention_norm=constants.norm(f"{name}/attention/norm"),
        intermediate=constants.linear(f"{name}/intermediate"),
        output=constants.linear(f"{name}/output"),
        output_norm=constants.norm(f"{name}/feed_forward/norm"),
    )
