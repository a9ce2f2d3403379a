"""Quantisation-aware training: a model learns with the rounding that its file will have.

Fake quantisation with straight-through gradients (Jacob et al. 2018; Bengio et al. 2013): in every forward
pass the weights are rounded by the very scheme of :mod:`edge_agent.forge.export.quantise`, symmetric with one
scale an output channel, and what enters a matrix product is rounded as LiteRT's dynamic-range kernels do it,
to 8 bits, asymmetric, one scale a token. Gradients pass as if nothing had been rounded. Taken off again, the
model is left with the rounded weights, which export stores without another loss.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from edge_agent.forge.encoders.family import Encoder
from edge_agent.forge.export.quantise import Scheme, bits_of, finer, largest_value

_LOWEST_ACTIVATION, _HIGHEST_ACTIVATION = -128, 127
_HEADS = ("label_head", "slot_head", "positions")


class FakeQuantised(nn.Module):
    """Rounds a weight [outputs, inputs] to ``bits``, one scale a row; a row of zeros stays as it is."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self._largest = largest_value(bits)

    def forward(self, weight: Tensor) -> Tensor:
        """The rounded weight; its gradient is that of ``weight``."""
        scales = weight.detach().abs().amax(dim=1, keepdim=True) / self._largest
        scales = torch.where(scales > 0, scales, torch.ones_like(scales))
        rounded = (weight / scales).round().clamp(-self._largest, self._largest) * scales
        return weight + (rounded - weight).detach()


def fake_quantised_rows(states: Tensor) -> Tensor:
    """Activations as the runtime rounds them: 8 bits, asymmetric, one scale and zero point a row.

    Args:
        states: [..., features].

    Source: XNNPACK's qd8 quantisation parameters: the range is widened to hold 0, the zero point is whole.
    """
    values = states.detach().float()
    low = values.amin(dim=-1, keepdim=True).clamp(max=0)
    high = values.amax(dim=-1, keepdim=True).clamp(min=0)
    span = high - low
    scale = torch.where(span > 0, span, torch.ones_like(span)) / (_HIGHEST_ACTIVATION - _LOWEST_ACTIVATION)
    zero = (_LOWEST_ACTIVATION - low / scale).round().clamp(_LOWEST_ACTIVATION, _HIGHEST_ACTIVATION)
    whole = ((values / scale).round() + zero).clamp(_LOWEST_ACTIVATION, _HIGHEST_ACTIVATION)
    rounded = ((whole - zero) * scale).to(states.dtype)
    return states + (rounded - states).detach()


class QuantisationAware:
    """A model under fake quantisation, from construction until :meth:`finish`.

    Args:
        model: trained in place.
        scheme: what it will be exported as, with one scale an output channel.

    Raises:
        ValueError: a scheme without bits, or with one scale a tensor.
    """

    def __init__(self, model: Encoder, scheme: Scheme) -> None:
        if scheme not in (Scheme.INT4_PER_CHANNEL, Scheme.INT8_PER_CHANNEL):
            raise ValueError(f"{scheme.value} is not trained for")
        self.model = model
        self._modules: list[nn.Module] = []
        self._hooks = []
        for name, module in list(model.named_modules()):
            if not isinstance(module, (nn.Linear, nn.Embedding)):
                continue
            bits = bits_of(finer(scheme) if name.startswith(_HEADS) else scheme)
            assert bits is not None
            parametrize.register_parametrization(module, "weight", FakeQuantised(bits))
            self._modules.append(module)
            if isinstance(module, nn.Linear):
                self._hooks.append(module.register_forward_pre_hook(_round_input))

    def finish(self) -> Encoder:
        """The model with rounded weights and without the machinery."""
        for hook in self._hooks:
            hook.remove()
        for module in self._modules:
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
        self._modules, self._hooks = [], []
        return self.model


def _round_input(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (fake_quantised_rows(inputs[0]),)
