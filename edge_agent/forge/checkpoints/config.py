"""``config.json`` of a checkpoint → family, sizes and heads of ours; what is unsupported is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_agent.errors import DataError
from edge_agent.forge.encoders.bert import EncoderShape
from edge_agent.forge.encoders.family import HeadShape
from edge_agent.forge.encoders.mobilebert import MobileShape
from edge_agent.forge.encoders.weights import Activation, Pooling
from edge_agent.inference.manifest import LONGEST_INPUT

_FAMILIES: Final = "bert (MiniLM and TinyBERT too), distilbert and mobilebert are"
_ACTIVATIONS: Final = {
    "gelu": Activation.GELU,
    "gelu_python": Activation.GELU,
    "gelu_new": Activation.GELU_TANH,
    "gelu_fast": Activation.GELU_TANH,
    "gelu_pytorch_tanh": Activation.GELU_TANH,
    "relu": Activation.RELU,
}
_DISTILBERT_EPSILON: Final = 1e-12  # in its code, not in its configuration


class Use(str, Enum):
    """What the checkpoint was trained for, by its architecture's name."""

    ENCODER = "Model"  # the bare encoder
    PRETRAINING = "pretraining"  # masked words, next sentences: its encoder can be trained further
    CLASSIFY = "ForSequenceClassification"
    TAG = "ForTokenClassification"


_PRETRAINING: Final = ("ForMaskedLM", "ForPreTraining", "ForNextSentencePrediction")
_PREFIXES: Final = {"bert": "Bert", "distilbert": "DistilBert", "mobilebert": "MobileBert"}

_Count = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
_Layers = Annotated[int, Field(ge=1, le=256, strict=True)]
"""Each is a module that is made before the weights are looked at, so a file may not name a million."""


class _Common(BaseModel):
    """What the configurations of all families have."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    architectures: tuple[str, ...] | None = None
    vocab_size: _Count
    max_position_embeddings: _Count = 512
    type_vocab_size: Annotated[int, Field(ge=0, strict=True)] = 2
    id2label: dict[int, str] | None = None
    num_labels: _Count | None = None
    problem_type: str | None = None
    position_embedding_type: str = "absolute"
    is_decoder: bool = False
    is_encoder_decoder: bool = False
    add_cross_attention: bool = False
    pruned_heads: dict[int, Any] = {}
    quantization_config: Any = None


class _Bert(_Common):
    hidden_size: _Count
    num_hidden_layers: _Layers
    num_attention_heads: _Count
    intermediate_size: _Count
    hidden_act: str = "gelu"
    layer_norm_eps: Annotated[float, Field(gt=0, lt=1)] = 1e-12


class _DistilBert(_Common):
    dim: _Count
    n_layers: _Layers
    n_heads: _Count
    hidden_dim: _Count
    activation: str = "gelu"


class _MobileBert(_Common):
    hidden_size: _Count = 512
    num_hidden_layers: _Layers = 24
    num_attention_heads: _Count = 4
    intermediate_size: _Count = 512
    embedding_size: _Count = 128
    intra_bottleneck_size: _Count = 128
    num_feedforward_networks: _Layers = 4
    hidden_act: str = "relu"
    use_bottleneck: Literal[True] = True
    trigram_input: Literal[True] = True
    normalization_type: Literal["no_norm"] = "no_norm"
    use_bottleneck_attention: bool = False
    key_query_shared_bottleneck: bool = True
    classifier_activation: bool = True


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a ``config.json`` says.

    Attributes:
        family: bert, distilbert or mobilebert.
        use: what the checkpoint was trained for.
        labels: names of the classifier's outputs, in their order; empty where there is none.
        shape: of our encoder, with heads for that use.
    """

    family: str
    use: Use
    labels: tuple[str, ...]
    shape: EncoderShape | MobileShape


def parse_config(path: Path, content: Mapping[str, Any], *, longest: int = LONGEST_INPUT) -> Configuration:
    """Parse a ``config.json``.

    Args:
        path: of the file, for messages.
        content: its JSON object.
        longest: positions to keep of those that the checkpoint has.

    Raises:
        DataError: of another family or kind, or a value is missing or wrong.
    """
    family = content.get("model_type")
    kinds: dict[str, type[_Common]] = {"bert": _Bert, "distilbert": _DistilBert, "mobilebert": _MobileBert}
    if not isinstance(family, str) or family not in kinds:
        raise DataError(f"{path}: model_type {family!r:.60} is not supported", hint=_FAMILIES)
    try:
        found = kinds[family].model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: {place}: {first['msg']}", hint=f"for {family}") from error
    _refuse_what_is_not_an_encoder(path, found)
    use = _use(path, family, found)
    labels = _labels(path, found) if use in (Use.CLASSIFY, Use.TAG) else ()
    shape = _shape(path, found, min(longest, found.max_position_embeddings))
    return Configuration(family, use, labels, _with_heads(shape, _heads(found, use, len(labels))))


def _refuse_what_is_not_an_encoder(path: Path, found: _Common) -> None:
    if found.is_decoder or found.is_encoder_decoder or found.add_cross_attention:
        raise DataError(f"{path}: a decoder, or one with cross-attention", hint="encoders are supported")
    if found.position_embedding_type != "absolute":
        raise DataError(
            f"{path}: position_embedding_type {found.position_embedding_type!r:.60} is not supported",
            hint="absolute is",
        )
    if found.pruned_heads:
        raise DataError(f"{path}: pruned_heads is not supported", hint="take the checkpoint before pruning")
    if found.quantization_config is not None:
        raise DataError(
            f"{path}: quantization_config: the weights are quantised already",
            hint="take the checkpoint in float32 or float16",
        )


def _use(path: Path, family: str, found: _Common) -> Use:
    name = found.architectures[0] if found.architectures else f"{_PREFIXES[family]}Model"
    kind = name.removeprefix(_PREFIXES[family])
    if kind in _PRETRAINING:
        return Use.PRETRAINING
    for use in (Use.ENCODER, Use.CLASSIFY, Use.TAG):
        if kind == use.value:
            return use
    raise DataError(
        f"{path}: architecture {name!r:.80} is not supported",
        hint="sequence classification, token classification and the bare model are",
    )


def _labels(path: Path, found: _Common) -> tuple[str, ...]:
    if found.problem_type not in (None, "single_label_classification"):
        raise DataError(
            f"{path}: problem_type {found.problem_type!r:.60} is not supported",
            hint="a model that gives one label of several is",
        )
    names = found.id2label
    if names is None:
        names = {number: f"LABEL_{number}" for number in range(found.num_labels or 2)}
    if sorted(names) != list(range(len(names))) or found.num_labels not in (None, len(names)):
        raise DataError(f"{path}: id2label does not number its labels from 0 without gaps")
    if len(names) < 2:
        raise DataError(
            f"{path}: one label only: a regression",
            hint="a model that gives one label of several is supported",
        )
    if len(set(names.values())) != len(names) or not all(names.values()):
        raise DataError(f"{path}: id2label has a label twice, or one without a name")
    return tuple(names[number] for number in range(len(names)))


def _activation(path: Path, name: str) -> Activation:
    if name not in _ACTIVATIONS:
        raise DataError(
            f"{path}: activation {name!r:.60} is not supported", hint=f"{', '.join(_ACTIVATIONS)} are"
        )
    return _ACTIVATIONS[name]


def _shape(path: Path, found: _Common, longest: int) -> EncoderShape | MobileShape:
    if isinstance(found, _MobileBert):
        return _mobile_shape(path, found, longest)
    if isinstance(found, _DistilBert):
        sizes = (found.dim, found.hidden_dim, found.n_layers, found.n_heads)
        activation, epsilon = found.activation, _DISTILBERT_EPSILON
    else:
        assert isinstance(found, _Bert)
        sizes = (
            found.hidden_size,
            found.intermediate_size,
            found.num_hidden_layers,
            found.num_attention_heads,
        )
        activation, epsilon = found.hidden_act, found.layer_norm_eps
    hidden, intermediate, layers, heads = sizes
    _check_heads(path, heads, hidden)
    return EncoderShape(
        vocabulary=found.vocab_size,
        hidden=hidden,
        intermediate=intermediate,
        layers=layers,
        heads=heads,
        longest=longest,
        labels=0,
        tags=0,
        epsilon=epsilon,
        activation=_activation(path, activation),
    )


def _mobile_shape(path: Path, found: _MobileBert, longest: int) -> MobileShape:
    if not (found.use_bottleneck_attention or found.key_query_shared_bottleneck):
        raise DataError(
            f"{path}: neither use_bottleneck_attention nor key_query_shared_bottleneck is not supported",
            hint="one of them true is",
        )
    _check_heads(path, found.num_attention_heads, found.intra_bottleneck_size)
    return MobileShape(
        vocabulary=found.vocab_size,
        head=HeadShape(0, 0),
        embedding=found.embedding_size,
        hidden=found.hidden_size,
        bottleneck=found.intra_bottleneck_size,
        intermediate=found.intermediate_size,
        layers=found.num_hidden_layers,
        heads=found.num_attention_heads,
        feed_forwards=found.num_feedforward_networks,
        longest=longest,
        all_in_bottleneck=found.use_bottleneck_attention,
        activation=_activation(path, found.hidden_act),
    )


def _check_heads(path: Path, heads: int, width: int) -> None:
    if width % heads:
        raise DataError(f"{path}: {heads} attention heads do not divide the width {width}")


def _heads(found: _Common, use: Use, labels: int) -> HeadShape:
    """How ``transformers`` builds the heads of each family."""
    if use is Use.TAG:
        return HeadShape(labels=1, tags=labels)  # the one intent of a model that only finds slots
    if use is not Use.CLASSIFY:
        return HeadShape(labels=0, tags=0)
    pooler: Activation | None = Activation.TANH
    if isinstance(found, _DistilBert):
        pooler = Activation.RELU
    elif isinstance(found, _MobileBert) and not found.classifier_activation:
        pooler = None
    return HeadShape(labels, 0, Pooling.FIRST, pooler)


def _with_heads(shape: EncoderShape | MobileShape, heads: HeadShape) -> EncoderShape | MobileShape:
    if isinstance(shape, MobileShape):
        return replace(shape, head=heads)
    return replace(shape, labels=heads.labels, tags=heads.tags, pooling=heads.pooling, pooler=heads.pooler)
