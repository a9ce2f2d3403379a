"""The TFLite runtime behind one small class; no other file imports it.

LiteRT (``ai-edge-litert``) and its old name (``tflite-runtime``, the only one with wheels for 32-bit ARM)
have the same Python interface. The first one that is installed is taken, when it is first needed. What each
can compute *rightly* is a table here: tflite-runtime 2.14 loads int8 weights with one scale a channel and
answers wrongly without an error, so loading a file is no proof (golden sentences are).

Measured with LiteRT 2.3: a resize and allocation costs 0.2 ms, so it is done only when the length changes.
After a failed call the interpreter's state is undefined, so it is dropped and made anew for the next one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import RuntimeFailure
from edge_agent.inference.variant import TensorNames

_MODULES: Final = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
}
_BATCH_SIGNATURE: Final = "batch"
_INPUT_NAME: Final = "token_ids"
_LOGITS: Final = "label_logits"
_PROBABILITIES: Final = "label_probabilities"
_LEAST_PROBABILITY: Final = np.finfo(np.float32).tiny
_FEATURES: Final = {
    "ai-edge-litert": frozenset({"float32", "int8-per-tensor", "int8-per-channel", "int4-per-channel"}),
    "tflite-runtime": frozenset({"float32", "int8-per-tensor"}),
}


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """Which runtime this machine uses.

    Attributes:
        name: ``ai-edge-litert`` or ``tflite-runtime``.
        version: its release.
        features: the model features (``features`` of a bundle's variant) that it computes rightly.
    """

    name: str
    version: str
    features: frozenset[str]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class Interpreter(Protocol):
    """What this package uses of ``Interpreter``; its documentation is the runtime's."""

    def get_input_details(self) -> list[dict[str, Any]]: ...  # noqa: D102
    def get_output_details(self) -> list[dict[str, Any]]: ...  # noqa: D102
    def get_tensor_details(self) -> list[dict[str, Any]]: ...  # noqa: D102
    def resize_tensor_input(self, index: int, shape: Sequence[int], strict: bool = ...) -> None: ...  # noqa: D102
    def allocate_tensors(self) -> None: ...  # noqa: D102
    def set_tensor(self, index: int, value: NDArray[np.int32]) -> None: ...  # noqa: D102
    def invoke(self) -> None: ...  # noqa: D102
    def get_tensor(self, index: int) -> NDArray[Any]: ...  # noqa: D102
    def get_signature_list(self) -> dict[str, Any]: ...  # noqa: D102
    def get_signature_runner(self, signature_key: str) -> Any: ...  # noqa: D102


def runtime_info(backend: str | None = None) -> RuntimeInfo:
    """Name and version of the runtime in use.

    Args:
        backend: the distribution name of one runtime, or None for the first that is installed.

    Raises:
        RuntimeFailure: it, or any, is not installed.
    """
    name, _ = _backend(backend)
    package = importlib.import_module(_MODULES[name].partition(".")[0])
    return RuntimeInfo(name, str(getattr(package, "__version__", "unknown")), _FEATURES[name])


def _backend(wanted: str | None) -> tuple[str, Any]:
    """The runtime's name and its module."""
    if wanted is not None and wanted not in _MODULES:
        raise RuntimeFailure(f"no such runtime: {wanted}", hint=f"known are {', '.join(_MODULES)}")
    for name in _MODULES if wanted is None else (wanted,):
        try:
            return name, importlib.import_module(_MODULES[name])
        except ImportError:
            continue
    missing = wanted or " or ".join(_MODULES)
    raise RuntimeFailure(
        f"no TFLite runtime: {missing} is not installed",
        hint="pip install ai-edge-litert (on 32-bit ARM: tflite-runtime with Python 3.11)",
    )


@dataclass(frozen=True, slots=True)
class _Session:
    """A made interpreter and the tensor numbers of its input and outputs."""

    interpreter: Interpreter
    input_index: int
    input_shape: tuple[int, ...]
    output_indices: Mapping[str, int]
    output_shapes: Mapping[str, tuple[int, ...]]
    mask_index: int | None = None
    segment_index: int | None = None


class Runner:
    """One model in one interpreter: token ids in, logits out. Not for two threads at a time.

    Args:
        model: path of the ``.tflite`` file (mapped, not copied) or its bytes.
        threads: of the runtime; more than there are free cores is slower, not faster.
        dynamic_length: the file takes any length; otherwise ids are padded to the file's own.
        pad_id: what a fixed length is padded with.
        vocabulary_size: ids from here on are refused before the call; None trusts the caller.
        max_tokens: longest input; None trusts the caller.
        tensors: the names of a foreign file's tensors; None where they are those of the contract.
            Probabilities come out as their logarithms, under the name of logits.
        backend: the distribution name of one runtime, or None for the first that is installed.

    Attributes:
        output_shapes: of each output by name, -1 where it follows the input.
        batch_size: how many sentences of one length :meth:`run_batch` takes at once; 1 where the file has no
            graph for it.

    Raises:
        RuntimeFailure: no runtime, or it cannot load the file, or the file is not of the kind it should be.
    """

    def __init__(
        self,
        model: str | Path | bytes,
        *,
        threads: int = 1,
        dynamic_length: bool = True,
        pad_id: int = 0,
        vocabulary_size: int | None = None,
        max_tokens: int | None = None,
        tensors: TensorNames | None = None,
        backend: str | None = None,
    ) -> None:
        self._model = model
        self._threads = threads
        self._dynamic_length = dynamic_length
        self._pad_id = pad_id
        self._vocabulary_size = vocabulary_size
        self._max_tokens = max_tokens
        self._tensors = tensors
        self._call = Runner._call_own if tensors is None else Runner._call_foreign
        self._backend_name = backend
        self._length: int | None = None
        self._closed = False
        self._session: _Session | None = self._open()
        self.output_shapes = self._session.output_shapes
        self.batch_size = self._find_batch_size(self._session)

    def run(self, ids: Sequence[int]) -> dict[str, NDArray[np.float32]]:
        """One inference.

        Args:
            ids: token ids, [CLS] … [SEP].

        Returns:
            Copies of the outputs by tensor name, float32, as the file shapes them.

        Raises:
            RuntimeFailure: ids out of range or too long, or the runtime failed; the next call is unaffected.
        """
        return self._guarded((ids,), lambda session: self._call(self, session, ids))

    def run_batch(self, batch: Sequence[Sequence[int]]) -> dict[str, NDArray[np.float32]]:
        """One inference over ``batch_size`` sentences of one length.

        Args:
            batch: token ids of each.

        Returns:
            As :meth:`run`, the rows of all sentences one after the other.

        Raises:
            RuntimeFailure: as :meth:`run`.
            ValueError: not so many sentences, or not of one length.
        """
        if len(batch) != self.batch_size or len({len(ids) for ids in batch}) != 1:
            raise ValueError(f"a batch is {self.batch_size} sentences of one length")
        return self._guarded(batch, lambda session: self._call_batch(session, batch))

    def _guarded(
        self,
        batch: Sequence[Sequence[int]],
        call: Callable[[_Session], dict[str, NDArray[np.float32]]],
    ) -> dict[str, NDArray[np.float32]]:
        """Calls the interpreter; after an error it is made anew."""
        if self._closed:
            raise RuntimeFailure("the model is closed")
        for ids in batch:
            self._guard(ids)
        try:
            session = self._session or self._open()
            self._session = session
            return call(session)
        except RuntimeFailure:
            raise
        except Exception as error:
            self._session = None
            self._length = None
            raise RuntimeFailure(f"the TFLite runtime failed: {_one_line(error)}") from error

    def close(self) -> None:
        """Free the interpreter and what it holds; to call it again does nothing."""
        self._closed = True
        self._session = None
        self._model = b""

    def _open(self) -> _Session:
        self._length = None
        interpreter = open_interpreter(self._model, threads=self._threads, backend=self._backend_name)
        if self._tensors is not None:
            return _foreign_session(interpreter, self._tensors)
        inputs = interpreter.get_input_details()
        outputs = interpreter.get_output_details()
        if len(inputs) != 1 or inputs[0]["dtype"] is not np.int32 or len(inputs[0]["shape"]) != 2:
            raise RuntimeFailure("the model does not take one int32 tensor [1, length]")
        signature = tuple(int(size) for size in inputs[0]["shape_signature"])
        if self._dynamic_length and signature[1] != -1:
            raise RuntimeFailure(
                f"the model takes {signature[1]} tokens only, but was declared of dynamic length"
            )
        return _Session(
            interpreter=interpreter,
            input_index=inputs[0]["index"],
            input_shape=tuple(int(size) for size in inputs[0]["shape"]),
            output_indices={output["name"]: output["index"] for output in outputs},
            output_shapes={output["name"]: _signature(output) for output in outputs},
        )

    def _guard(self, ids: Sequence[int]) -> None:
        """Refuse what the runtime would fail on, or worse, not fail on."""
        if not ids or min(ids) < 0:
            raise RuntimeFailure("no token ids, or a negative one")
        if self._vocabulary_size is not None and max(ids) >= self._vocabulary_size:
            raise RuntimeFailure(f"token id {max(ids)} is not in the vocabulary of {self._vocabulary_size}")
        if self._max_tokens is not None and len(ids) > self._max_tokens:
            raise RuntimeFailure(f"{len(ids)} tokens, where the model reads {self._max_tokens}")

    def _call_own(self, session: _Session, ids: Sequence[int]) -> dict[str, NDArray[np.float32]]:
        interpreter = session.interpreter
        length = len(ids)
        if not self._dynamic_length:
            length = session.input_shape[1]
            if len(ids) > length:
                raise RuntimeFailure(f"{len(ids)} tokens, where the model's file takes {length}")
            ids = [*ids, *([self._pad_id] * (length - len(ids)))]
        if length != self._length:
            if self._dynamic_length:
                interpreter.resize_tensor_input(session.input_index, [1, length])
            interpreter.allocate_tensors()
            self._length = length
        interpreter.set_tensor(session.input_index, np.array((ids,), np.int32))
        interpreter.invoke()
        return {name: interpreter.get_tensor(index) for name, index in session.output_indices.items()}

    def _call_foreign(self, session: _Session, ids: Sequence[int]) -> dict[str, NDArray[np.float32]]:
        """As :meth:`_call_own`, of a file of a fixed length that may want a mask and segment ids, too."""
        interpreter = session.interpreter
        length = session.input_shape[1]
        padding = length - len(ids)
        if padding < 0:
            raise RuntimeFailure(f"{len(ids)} tokens, where the model's file takes {length}")
        if self._length is None:
            interpreter.allocate_tensors()
            self._length = length
        padded = np.array(([*ids, *[self._pad_id] * padding],), np.int32)
        interpreter.set_tensor(session.input_index, padded)
        if session.mask_index is not None:
            mask = np.array(([1] * len(ids) + [0] * padding,), np.int32)
            interpreter.set_tensor(session.mask_index, mask)
        if session.segment_index is not None:
            interpreter.set_tensor(session.segment_index, np.zeros((1, length), np.int32))
        interpreter.invoke()
        outputs = {name: interpreter.get_tensor(index) for name, index in session.output_indices.items()}
        if _PROBABILITIES in outputs:
            outputs[_LOGITS] = np.log(np.maximum(outputs.pop(_PROBABILITIES), _LEAST_PROBABILITY))
        return outputs

    def _call_batch(
        self, session: _Session, batch: Sequence[Sequence[int]]
    ) -> dict[str, NDArray[np.float32]]:
        # Not kept: the interpreter refuses its other calls while something else holds its inside.
        runner = session.interpreter.get_signature_runner(_BATCH_SIGNATURE)
        outputs: dict[str, NDArray[np.float32]] = runner(**{_INPUT_NAME: np.array(batch, np.int32)})
        return outputs

    @staticmethod
    def _find_batch_size(session: _Session) -> int:
        if _BATCH_SIGNATURE not in session.interpreter.get_signature_list():
            return 1
        runner = session.interpreter.get_signature_runner(_BATCH_SIGNATURE)
        return int(runner.get_input_details()[_INPUT_NAME]["shape"][0])


def open_interpreter(model: str | Path | bytes, *, threads: int, backend: str | None) -> Interpreter:
    """A made interpreter of a file or of its bytes.

    Raises:
        RuntimeFailure: there is no runtime, or it cannot load the file.
    """
    name, module = _backend(backend)
    content = isinstance(model, bytes)
    source = {"model_content": model} if content else {"model_path": str(model)}
    try:
        interpreter: Interpreter = module.Interpreter(num_threads=threads, **source)
        interpreter.get_input_details()  # raises where a tensor's name is no text
        interpreter.get_output_details()
    except Exception as error:
        what = "the model" if content else Path(str(model)).name
        raise RuntimeFailure(f"{name} cannot load {what}: {_one_line(error)}") from error
    return interpreter


def _foreign_session(interpreter: Interpreter, tensors: TensorNames) -> _Session:
    """The tensors of a foreign file by the names that the bundle gives them."""
    inputs = {details["name"]: details for details in interpreter.get_input_details()}
    outputs = {details["name"]: details for details in interpreter.get_output_details()}
    if set(inputs) != set(tensors.inputs.values()) or set(outputs) != set(tensors.outputs.values()):
        raise RuntimeFailure("the model's inputs and outputs are not those that the bundle names")
    shapes = {tuple(int(size) for size in details["shape"]) for details in inputs.values()}
    (shape, *others) = shapes
    if others or len(shape) != 2 or any(details["dtype"] is not np.int32 for details in inputs.values()):
        raise RuntimeFailure("the model's inputs are not int32 tensors [1, length], all of one length")
    if any(details["dtype"] is not np.float32 for details in outputs.values()):
        raise RuntimeFailure("the model's output is not float32")
    indices = {role: int(inputs[name]["index"]) for role, name in tensors.inputs.items()}
    return _Session(
        interpreter=interpreter,
        input_index=indices["token_ids"],
        input_shape=shape,
        output_indices={role: outputs[name]["index"] for role, name in tensors.outputs.items()},
        output_shapes={_LOGITS: _signature(output) for output in outputs.values()},  # noqa: B035 - the only one
        mask_index=indices.get("mask"),
        segment_index=indices.get("segment_ids"),
    )


def _signature(details: dict[str, Any]) -> tuple[int, ...]:
    """Shape of a tensor with -1 where it follows the input."""
    signature = details["shape_signature"]
    return tuple(int(size) for size in (signature if len(signature) else details["shape"]))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
