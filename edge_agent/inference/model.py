"""A served model: text → prediction, through tokenizer, runtime and decoding.

A :class:`Model` exists only when its bundle is intact and its golden sentences came out right here. A text
longer than the model is read as the bundle says (:mod:`edge_agent.inference.windows`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from math import isfinite
from pathlib import Path
from threading import Lock
from time import perf_counter
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import BundleError, ErrorCode, GoldenError, RequestError, RuntimeFailure
from edge_agent.inference.analysis import Analysis, Embedded
from edge_agent.inference.bundle import Bundle, opened_bundle, read_tokenizer
from edge_agent.inference.decode import decide, decode_slots
from edge_agent.inference.golden import (
    GoldenSentence,
    check_golden,
    check_golden_embeddings,
    cosine,
    parse_golden,
)
from edge_agent.inference.manifest import Beyond, Manifest
from edge_agent.inference.runtime import Runner, runtime_info
from edge_agent.inference.tokenizer import Encoding
from edge_agent.inference.variants import (
    EMBEDDING_OUTPUT,
    LABEL_OUTPUT,
    SLOT_OUTPUT,
    check_outputs,
    choose_variant,
    model_of,
)
from edge_agent.inference.windows import (
    cut_windows,
    mean_direction,
    mean_logits,
    pool_slots,
    truncate,
    window_starts,
)
from edge_agent.types import Prediction, Slot, Task

__all__ = ["Analysis", "Embedded", "Model", "choose_variant"]

_LEAST_COSINE_OF_BATCHES = 0.999


class Model:
    """A loaded bundle that answers. Threads may share it; they take turns.

    Made by :meth:`load`; a context manager that closes itself.

    Attributes:
        bundle: the checked bundle.
        variant: the file of it that serves.
        runtime: which runtime computes.
        batch_size: how many texts of one length :meth:`predict_many` computes together; 1 for none.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1, backend: str | None = None) -> None:
        """Load a checked bundle without asking its golden sentences; :meth:`load` is the way in."""
        self.bundle = bundle
        self.runtime = runtime_info(backend)
        self.variant = choose_variant(bundle.manifest, self.runtime)
        self._tokenizer = read_tokenizer(bundle)
        self._head, self._tail = self._tokenizer.head, self._tokenizer.tail
        self._wordless = self._head + self._tail
        self._lock = Lock()
        self._resources = ExitStack()
        self._runner = Runner(
            model_of(bundle, self.variant),
            threads=threads,
            dynamic_length=self.variant.dynamic_length,
            pad_id=self._tokenizer.pad_id,
            vocabulary_size=self._tokenizer.vocabulary_size,
            max_tokens=bundle.manifest.input.max_tokens,
            tensors=self.variant.tensors,
            backend=backend,
        )
        self._resources.callback(self._runner.close)
        self._embeds = bundle.manifest.task is Task.EMBED
        self._pooled = EMBEDDING_OUTPUT if self._embeds else LABEL_OUTPUT
        self.batch_size = self._runner.batch_size
        check_outputs(self.variant.file, self._runner, bundle.manifest)

    @classmethod
    def load(
        cls, path: str | Path, *, threads: int = 1, check_golden: bool = True, backend: str | None = None
    ) -> Model:
        """Check and load a bundle, and let it answer its golden sentences.

        Args:
            path: a bundle's folder, or an ``.edgemodel`` zip, which is unpacked to a temporary folder
                until the model is closed.
            threads: of the runtime.
            check_golden: False only to look into a model that fails.
            backend: the distribution name of one runtime, or None for the first that is installed.

        Raises:
            BundleError: missing, truncated, altered, foreign, unknown, or nothing in it runs here.
            GoldenError: it is intact and answers wrongly on this machine.
            RuntimeFailure: there is no runtime, or it failed.
        """
        with ExitStack() as undo:
            bundle = undo.enter_context(opened_bundle(path))
            model = cls(bundle, threads=threads, backend=backend)
            undo.callback(model._runner.close)
            if check_golden:
                model.check_golden()
            model._resources = undo.pop_all()
        return model

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return self.bundle.manifest

    @property
    def digest(self) -> str:
        """``sha256:…`` of the bundle."""
        return self.bundle.digest

    def predict(self, text: str, *, top_k: int = 3) -> Prediction:
        """Understand one text.

        Args:
            text: any length; beyond the model's it is read as the bundle says.
            top_k: most alternatives to the answer.

        Raises:
            RequestError: ``empty_text``, the text has nothing but white space and control characters.
            RuntimeFailure: the runtime failed; the next call is unaffected.
        """
        if self._embeds:
            return self._embedding_prediction(self.embed(text))
        return self._prediction(self.analyse(text, top_k=top_k))

    def predict_many(
        self, texts: Sequence[str], top_ks: Sequence[int]
    ) -> list[Prediction | RequestError | RuntimeFailure]:
        """Understand several texts; those of one length go through the runtime together.

        Args:
            texts: any number.
            top_ks: most alternatives for each.

        Returns:
            In the order of the texts; where one fails, its error stands in its place.
        """
        answers: list[Prediction | RequestError | RuntimeFailure | None] = [None] * len(texts)
        by_length: dict[int, list[tuple[int, Encoding, float]]] = {}
        for index, text in enumerate(texts):
            begun = perf_counter()
            encoding = self._tokenizer.encode(text)
            length = len(encoding.ids)
            if self._wordless < length <= self.bundle.manifest.input.max_tokens and self.batch_size > 1:
                by_length.setdefault(length, []).append((index, encoding, (perf_counter() - begun) * 1e3))
            else:
                answers[index] = self._answer(text, top_ks[index])
        for group in by_length.values():
            while len(group) >= self.batch_size:
                members, group[: self.batch_size] = group[: self.batch_size], []
                self._answer_batch(members, texts, top_ks, answers)
            for index, _, _ in group:
                answers[index] = self._answer(texts[index], top_ks[index])
        return [answer for answer in answers if answer is not None]

    def _answer(self, text: str, top_k: int) -> Prediction | RequestError | RuntimeFailure:
        try:
            return self.predict(text, top_k=top_k)
        except (RequestError, RuntimeFailure) as error:
            return error

    def _answer_batch(
        self,
        members: Sequence[tuple[int, Encoding, float]],
        texts: Sequence[str],
        top_ks: Sequence[int],
        answers: list[Prediction | RequestError | RuntimeFailure | None],
    ) -> None:
        """Fills in the answers of one full batch; if it fails as a batch, each is asked alone."""
        begun = perf_counter()
        try:
            outputs = self._invoke_batch([encoding for _, encoding, _ in members])
        except RuntimeFailure:
            for index, _, _ in members:
                answers[index] = self._answer(texts[index], top_ks[index])
            return
        invoke_ms = (perf_counter() - begun) * 1e3
        for (index, encoding, tokenize_ms), (labels, slots) in zip(members, outputs, strict=True):
            if self._embeds:
                answers[index] = self._embedded_answer(encoding, labels, tokenize_ms, invoke_ms)
                continue
            answers[index] = self._prediction(
                self._analysis(
                    texts[index],
                    encoding,
                    labels,
                    slots,
                    top_k=top_ks[index],
                    truncated=False,
                    tokenize_ms=tokenize_ms,
                    invoke_ms=invoke_ms,
                )
            )

    def _embedded_answer(
        self, encoding: Encoding, vector: NDArray[np.float32], tokenize_ms: float, invoke_ms: float
    ) -> Prediction | RuntimeFailure:
        try:
            embedded = Embedded(encoding, _direction([vector]), False, tokenize_ms, invoke_ms)
        except RuntimeFailure as error:
            return error
        return self._embedding_prediction(embedded)

    def _prediction(self, analysis: Analysis) -> Prediction:
        manifest = self.bundle.manifest
        decision = analysis.decision
        return Prediction(
            model=manifest.name,
            version=manifest.version,
            task=manifest.task,
            recognized=decision.recognized,
            label=decision.best if decision.recognized else None,
            confidence=decision.confidence,
            alternatives=decision.alternatives,
            slots=analysis.slots,
            truncated=analysis.truncated,
            tokenize_ms=analysis.tokenize_ms,
            invoke_ms=analysis.invoke_ms,
        )

    def _embedding_prediction(self, embedded: Embedded) -> Prediction:
        manifest = self.bundle.manifest
        return Prediction(
            model=manifest.name,
            version=manifest.version,
            task=manifest.task,
            recognized=True,
            label=None,
            confidence=None,
            alternatives=(),
            slots=(),
            truncated=embedded.truncated,
            tokenize_ms=embedded.tokenize_ms,
            invoke_ms=embedded.invoke_ms,
            embedding=tuple(embedded.embedding.tolist()),
        )

    def embed(self, text: str) -> Embedded:
        """As :meth:`predict`, of a model of the task embed, with token ids and the vector as an array.

        Raises:
            RequestError: ``empty_text``.
            RuntimeFailure: the runtime failed.
            ValueError: the model has another task.
        """
        if not self._embeds:
            raise ValueError(f"{self.bundle.manifest.name} is not of the task embed")
        begun = perf_counter()
        encoding, truncated = self._encode(text)
        tokenized = perf_counter()
        vector = self._vector(encoding)
        invoked = perf_counter()
        return Embedded(encoding, vector, truncated, (tokenized - begun) * 1e3, (invoked - tokenized) * 1e3)

    def _encode(self, text: str) -> tuple[Encoding, bool]:
        """The tokens to be read, and whether the end of the text is not among them."""
        limits = self.bundle.manifest.input
        encoding = self._tokenizer.encode(text)
        if len(encoding.ids) == self._wordless:
            raise RequestError(ErrorCode.EMPTY_TEXT, "the text is empty")
        if limits.beyond is Beyond.WINDOW or len(encoding.ids) <= limits.max_tokens:
            return encoding, False
        return truncate(encoding, limits.max_tokens, head=self._head, tail=self._tail), True

    def analyse(self, text: str, *, top_k: int = 3) -> Analysis:
        """As :meth:`predict`, of a model with labels, with token ids and logits.

        Raises:
            RequestError: ``empty_text``.
            RuntimeFailure: the runtime failed.
            ValueError: the model is of the task embed.
        """
        if self._embeds:
            raise ValueError(f"{self.bundle.manifest.name} is of the task embed and has no labels")
        begun = perf_counter()
        cut, truncated = self._encode(text)
        tokenized = perf_counter()
        label_logits, slot_logits = self._logits(cut)
        invoked = perf_counter()
        return self._analysis(
            text,
            cut,
            label_logits,
            slot_logits,
            top_k=top_k,
            truncated=truncated,
            tokenize_ms=(tokenized - begun) * 1e3,
            invoke_ms=(invoked - tokenized) * 1e3,
        )

    def _analysis(
        self,
        text: str,
        encoding: Encoding,
        label_logits: NDArray[np.float32],
        slot_logits: NDArray[np.float32] | None,
        *,
        top_k: int,
        truncated: bool,
        tokenize_ms: float,
        invoke_ms: float,
    ) -> Analysis:
        """What the logits of one text say."""
        manifest = self.bundle.manifest
        decision = decide(
            label_logits,
            manifest.labels,
            manifest.calibration,
            out_of_scope=manifest.out_of_scope,
            top_k=top_k,
        )
        slots: tuple[Slot, ...] = ()
        if slot_logits is not None and decision.recognized:
            slots = decode_slots(text, encoding, slot_logits, manifest.slot_tags)
        return Analysis(
            encoding, label_logits, slot_logits, decision, slots, truncated, tokenize_ms, invoke_ms
        )

    def check_golden(self) -> None:
        """Answer the bundle's golden sentences.

        Raises:
            GoldenError: one came out differently.
            BundleError: the golden file is not of the form.
            RuntimeFailure: the runtime failed.
        """
        golden = self.bundle.manifest.golden
        sentences = parse_golden(golden.file, self.bundle.file(golden.file).read_bytes())
        self._check_form(golden.file, sentences)
        try:
            if self._embeds:
                check_golden_embeddings(sentences, self.embed, min_cosine=golden.min_cosine)
            else:
                check_golden(sentences, self.analyse, min_cosine=golden.min_cosine)
        except RequestError as error:
            raise GoldenError(f"{golden.file}: a golden sentence without a word") from error
        if self.batch_size > 1 and not self._batches_agree([sentence.text for sentence in sentences]):
            self.batch_size = 1

    def _check_form(self, file: str, sentences: Sequence[GoldenSentence]) -> None:
        labels = len(self.bundle.manifest.labels)
        width = self._runner.output_shapes[EMBEDDING_OUTPUT][-1] if self._embeds else 0
        for sentence in sentences:
            if len(sentence.label_logits) != labels:
                raise BundleError(f"{file}: line {sentence.number}: not one logit for each label")
            if len(sentence.embedding) != width:
                raise BundleError(f"{file}: line {sentence.number}: not an embedding of {width} numbers")

    def _batches_agree(self, texts: Sequence[str]) -> bool:
        """Whether batches give here what the sentences give alone; a runtime that errs serves them alone."""
        by_length: dict[int, list[Encoding]] = {}
        for text in texts:
            encoding = self._tokenizer.encode(text)
            by_length.setdefault(len(encoding.ids), []).append(encoding)
        for length, group in by_length.items():
            if length > self.bundle.manifest.input.max_tokens:
                continue
            members = [group[number % len(group)] for number in range(self.batch_size)]
            try:
                together = self._invoke_batch(members)
                alone = [self._logits(encoding) for encoding in members]
            except RuntimeFailure:
                return False
            for (labels, _), (expected, _) in zip(together, alone, strict=True):
                if cosine(labels, expected) < _LEAST_COSINE_OF_BATCHES:
                    return False
        return True

    def close(self) -> None:
        """Free the interpreter and temporary files; to call it again does nothing."""
        with self._lock:
            self._resources.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _logits(self, encoding: Encoding) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Label logits [labels] and slot logits [tokens, tags]."""
        limits = self.bundle.manifest.input
        length = len(encoding.ids)
        with self._lock:
            if length <= limits.max_tokens:
                return self._invoke(encoding.ids)
            runs = [self._invoke(window) for window in self._windows(encoding.ids)]
        labels = mean_logits([label_logits for label_logits, _ in runs])
        slots = [slot_logits for _, slot_logits in runs if slot_logits is not None]
        if not slots:
            return labels, None
        starts = window_starts(length, limits.max_tokens, limits.window_stride)
        return labels, pool_slots(length, starts, slots)

    def _vector(self, encoding: Encoding) -> NDArray[np.float32]:
        """The embedding [hidden] of a text, of length 1."""
        ids = encoding.ids
        windows = [ids] if len(ids) <= self.bundle.manifest.input.max_tokens else self._windows(ids)
        with self._lock:
            return _direction([self._invoke(window)[0] for window in windows])

    def _windows(self, ids: tuple[int, ...]) -> list[tuple[int, ...]]:
        """The windows in which a text longer than the model is read."""
        limits = self.bundle.manifest.input
        return cut_windows(ids, limits.max_tokens, limits.window_stride, head=self._head, tail=self._tail)

    def _invoke_batch(
        self, encodings: Sequence[Encoding]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32] | None]]:
        """As :meth:`_invoke`, of ``batch_size`` texts of one length."""
        with self._lock:
            outputs = self._runner.run_batch([encoding.ids for encoding in encodings])
        count, tags = len(encodings), len(self.bundle.manifest.slot_tags)
        labels = outputs[self._pooled].reshape(count, -1)
        slots = outputs[SLOT_OUTPUT].reshape(count, -1, tags) if tags else None
        return [(labels[row], None if slots is None else slots[row]) for row in range(count)]

    def _invoke(self, ids: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Label logits [labels] and slot logits [tokens, tags]; or the embedding [hidden], and None."""
        outputs = self._runner.run(ids)
        labels = outputs[self._pooled].reshape(-1)
        tags = len(self.bundle.manifest.slot_tags)
        slots = outputs[SLOT_OUTPUT].reshape(-1, tags)[: len(ids)] if tags else None
        return labels, slots


def _direction(vectors: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The vector of length 1 that stands for several, which must have one."""
    vector = mean_direction(vectors)
    if not isfinite(np.add.reduce(vector)):
        raise RuntimeFailure("the model computed a vector without a direction")
    return vector
