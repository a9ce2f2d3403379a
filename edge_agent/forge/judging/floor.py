"""The floor under every neural model: a linear classifier over n-grams, trained on the same sentences.

Words and pairs of words, and 2 to 5 characters within words, weighted by TF-IDF with sublinear counts, into a
linear support vector machine, one against the rest (Joachims 1998; Wang and Manning 2012 on how strong such
baselines are). What it costs is seconds; a model that does not beat it is not worth its milliseconds.

It reads what the models read: words and marks, without case and spaces. WordPiece drops these before a model
sees a text, and a corpus may betray its labels by them: in XED the neutral lines are spaced as people write,
the others as a tokenizer left them, and a classifier that sees the spaces is right in 86 % of the English dev
lines, one that does not in 67 % (decision 0012).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.forge.data.examples import Example
from edge_agent.forge.data.labelled import labelled_sentences
from edge_agent.forge.data.mixture import WeightedSet
from edge_agent.forge.judging.evaluate import Reading

_MOST_SENTENCES = 60_000
_RARE = 2
"""N-grams of fewer sentences are left out where there are many sentences."""
_MANY = 2_000
_WORD_OR_MARK = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Floor:
    """A fitted linear classifier.

    Attributes:
        labels: of the neural models; those that training never showed get the lowest score.
        vectorizer: text → sparse n-gram vector (scikit-learn).
        classifier: vector → one score a known label (scikit-learn).
        sentences: how many it was trained on.
    """

    labels: tuple[str, ...]
    vectorizer: Any
    classifier: Any
    sentences: int

    def read(self, examples: Sequence[Example]) -> Reading:
        """Its scores in the place of logits; it has no slots."""
        scores = np.full((len(examples), len(self.labels)), -10.0, np.float32)
        if examples:
            scores[:, self._columns()] = self._scores([example.text for example in examples])
        return Reading(scores, None)

    def _columns(self) -> list[int]:
        return [self.labels.index(label) for label in self.classifier.classes_]

    def _scores(self, texts: Sequence[str]) -> NDArray[np.float32]:
        found = np.asarray(
            self.classifier.decision_function(self.vectorizer.transform([as_read(text) for text in texts])),
            np.float32,
        )
        return np.stack([-found, found], axis=1) if found.ndim == 1 else found


def fit_floor(training: Sequence[WeightedSet], labels: Sequence[str], *, seed: int = 0) -> Floor | None:
    """Fits the classifier; None where the training sentences have fewer than two labels.

    A set counts by its weight in the mixture, as it does in the training of the encoder; templates are
    sampled.

    Args:
        training: the sets that the encoder is trained on.
        labels: of the models it is compared with.
        seed: of the sampling and the solver.
    """
    from sklearn.svm import LinearSVC  # slow to import, and only judging needs it

    examples, weights = labelled_sentences(training, most=_MOST_SENTENCES, seed=seed)
    known = set(labels)
    kept = [index for index, example in enumerate(examples) if example.label in known]
    targets = [examples[index].label for index in kept]
    if len(set(targets)) < 2:
        return None
    vectorizer = _vectorizer(len(kept))
    vectors = vectorizer.fit_transform([as_read(examples[index].text) for index in kept])
    classifier = LinearSVC(C=1.0, random_state=seed)
    classifier.fit(vectors, targets, sample_weight=weights[kept])
    return Floor(tuple(labels), vectorizer, classifier, len(kept))


def as_read(text: str) -> str:
    """A text as words and single marks in lower case, one space between them: what WordPiece starts from."""
    return " ".join(_WORD_OR_MARK.findall(text.lower()))


def _vectorizer(sentences: int) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import FeatureUnion

    least = _RARE if sentences >= _MANY else 1
    common = {"sublinear_tf": True, "min_df": least, "dtype": np.float32}
    return FeatureUnion(
        [
            ("words", TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", **common)),
            ("characters", TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), **common)),
        ]
    )
