"""Cutting and windowing: nothing is lost, nothing stands twice."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.inference.tokenizer import Encoding, WordPiece
from edge_agent.inference.windows import mean_logits, pool_slots, truncate, window_starts

LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
TOKENIZER = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS, *(f"##{letter}" for letter in LETTERS)])

lengths = st.tuples(st.integers(3, 40), st.integers(1, 200)).flatmap(
    lambda pair: st.tuples(st.just(pair[0]), st.just(pair[0] + pair[1]), st.integers(1, max(1, pair[0] - 2)))
)


@given(lengths)
def test_windows_cover_every_token_and_stay_inside(case: tuple[int, int, int]) -> None:
    max_tokens, length, stride = case
    starts = window_starts(length, max_tokens, stride)
    covered = {start + offset for start in starts for offset in range(max_tokens - 2)}
    assert covered == set(range(1, length - 1))
    assert starts == sorted(set(starts))


@given(lengths)
def test_each_token_gets_the_logits_of_the_window_where_it_is_most_central(
    case: tuple[int, int, int],
) -> None:
    max_tokens, length, stride = case
    starts = window_starts(length, max_tokens, stride)
    windows = [np.full((max_tokens, 1), float(number), np.float32) for number in range(len(starts))]
    pooled = pool_slots(length, starts, windows)
    centre = (max_tokens - 3) / 2
    for token in range(1, length - 1):
        distances = [
            abs(token - start - centre) if 0 <= token - start < max_tokens - 2 else np.inf for start in starts
        ]
        assert distances[int(pooled[token, 0])] == min(distances)


def test_label_logits_are_pooled_by_their_mean() -> None:
    pooled = mean_logits([np.array([1.0, 3.0], np.float32), np.array([3.0, 5.0], np.float32)])
    assert pooled.dtype == np.float32
    assert pooled.tolist() == [2.0, 4.0]


@given(st.lists(st.text(alphabet="abc", min_size=1, max_size=9), min_size=1, max_size=20), st.integers(3, 40))
def test_a_cut_keeps_whole_words_and_the_frame(words: list[str], max_tokens: int) -> None:
    encoding = TOKENIZER.encode(" ".join(words))
    cut = truncate(encoding, max_tokens)
    kept = len(cut.ids) - 1
    assert len(cut.ids) == len(cut.spans) == len(cut.words) <= max_tokens
    assert cut.ids[:kept] == encoding.ids[:kept]
    assert cut.ids[-1] == encoding.ids[-1]
    if len(encoding.ids) <= max_tokens:
        assert cut is encoding
    elif len(set(cut.words)) > 2:
        assert encoding.words[kept] != encoding.words[kept - 1]
    else:
        assert kept >= 2


def test_a_single_word_that_fills_the_model_is_cut_inside() -> None:
    cut = truncate(TOKENIZER.encode("abcdefgh"), 5)
    assert cut == Encoding((2, 4, 31, 32, 3), ((0, 0), (0, 1), (1, 2), (2, 3), (0, 0)), (-1, 0, 0, 0, -1))
