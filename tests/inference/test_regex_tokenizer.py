"""Words between delimiters: ids, places, and the patterns that are taken."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.inference.regex_tokenizer import RegexTokenizer, compile_delimiter, parse_word_index
from edge_agent.inference.windows import cut_windows, truncate

MODEL_MAKER = r"[^\w\']+"
VOCABULARY = {"<PAD>": 0, "<START>": 1, "<UNKNOWN>": 2, "good": 3, "it's": 4, "café": 5, "Σας": 6, "i̇x": 9}
TOKENIZER = RegexTokenizer(VOCABULARY, pattern=MODEL_MAKER, lowercase=True)


def test_words_are_looked_up_whole_between_delimiters() -> None:
    encoding = TOKENIZER.encode("  It's GOOD, no?Café!")
    assert encoding.ids == (1, 4, 3, 2, 5)
    assert encoding.spans == ((0, 0), (2, 6), (7, 11), (13, 15), (16, 20))
    assert encoding.words == (-1, 0, 1, 2, 3)
    assert (TOKENIZER.head, TOKENIZER.tail, TOKENIZER.pad_id, TOKENIZER.vocabulary_size) == (1, 0, 0, 10)


def test_letters_are_kept_where_the_settings_say_so() -> None:
    kept = RegexTokenizer(VOCABULARY, pattern=MODEL_MAKER, lowercase=False)
    assert kept.encode("GOOD good Σας").ids == (1, 2, 3, 6)


def test_a_letter_whose_small_form_is_two_does_not_move_the_others() -> None:
    encoding = TOKENIZER.encode("İX good")
    assert encoding.ids == (1, 9, 3)
    assert encoding.spans[1:] == ((0, 2), (3, 7))


def test_a_text_without_a_word_is_the_start_alone() -> None:
    assert TOKENIZER.encode(" …! ").ids == TOKENIZER.encode("").ids == (1,)


@given(st.text(max_size=60))
def test_the_words_are_what_a_split_gives(text: str) -> None:
    encoding = TOKENIZER.encode(text)
    words = [text[start:end] for start, end in encoding.spans[1:]]
    assert words == [word for word in re.split(MODEL_MAKER, text) if word]
    assert len(encoding.ids) == len(encoding.spans) == len(encoding.words)


def test_long_texts_are_cut_or_read_in_windows_without_an_end_token() -> None:
    encoding = TOKENIZER.encode("good " * 9)
    cut = truncate(encoding, 4, head=1, tail=0)
    assert (cut.ids, cut.words) == ((1, 3, 3, 3), (-1, 0, 1, 2))
    ids = (1, *range(10, 19))
    windows = cut_windows(ids, 5, 2, head=1, tail=0)
    assert windows[0] == (1, 10, 11, 12, 13)
    assert windows[-1] == (1, 15, 16, 17, 18)
    assert {token for window in windows for token in window} == set(ids)
    assert cut_windows(ids, 5, 2, head=0, tail=0)[-1] == (14, 15, 16, 17, 18)


@pytest.mark.parametrize("pattern", [MODEL_MAKER, r"\W+", r"[\s,.;]", " ", r"\s+", r"[^a-z\]]+", r"\|"])
def test_a_character_class_is_taken(pattern: str) -> None:
    assert compile_delimiter(pattern).pattern == pattern


@pytest.mark.parametrize(
    "pattern",
    ["", "(a+)+$", r"(\s)+", "a|b", "ab", "a*", "a?", "a{3}", ".", "[a", "[]a]", "[[a]", "[a]++", r"\b",
     r"\1", "[z-a]", "[a--b]", "[a||b]", "[" + "a" * 200 + "]"],
)  # fmt: skip
def test_any_other_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        compile_delimiter(pattern)


def test_a_text_of_any_length_is_split() -> None:
    assert TOKENIZER.encode("a" * 200_000 + " " * 200_000 + "good").ids == (1, 2, 3)


@given(st.text(max_size=30))
def test_any_pattern_is_taken_or_refused_as_a_value_error(pattern: str) -> None:
    try:
        compile_delimiter(pattern)
    except ValueError:
        return
    assert not set("(){}") & set(re.sub(r"\\.|\[.*\]", "", pattern, flags=re.DOTALL))


@given(st.binary(max_size=60))
def test_any_vocabulary_is_read_or_refused_as_a_value_error(content: bytes) -> None:
    try:
        ids = parse_word_index(content)
    except ValueError:
        return
    assert all(word and 0 <= number < 2**31 for word, number in ids.items())


@pytest.mark.parametrize("missing", ["<PAD>", "<UNKNOWN>"])
def test_special_words_must_be_there(missing: str) -> None:
    words = {word: number for word, number in VOCABULARY.items() if word != missing}
    with pytest.raises(ValueError, match=f"has no {missing}"):
        RegexTokenizer(words, pattern=MODEL_MAKER, lowercase=True)
