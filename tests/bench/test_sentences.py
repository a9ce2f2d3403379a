from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.bench.sentences import ids_of_length, sentences_of_length
from edge_agent.inference.tokenizer import WordPiece

TOKENIZER = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "##c"])
WORDS = st.lists(st.sampled_from(["a", "b", "cc", "ccc"]), min_size=1, max_size=20).map(" ".join)


def test_sentences_that_have_the_length_come_first_and_as_they_are() -> None:
    found = sentences_of_length(TOKENIZER, ["a", "a b cc", "b b"], 6)
    assert found[0].text == "a b cc"
    assert all(len(sentence.ids) == 6 for sentence in found)


def test_no_sentence_is_made_where_the_words_do_not_allow_it() -> None:
    assert sentences_of_length(TOKENIZER, ["ccc"], 4) == ()


@given(st.lists(WORDS, min_size=1, max_size=6), st.integers(4, 15))
def test_every_sentence_has_the_length_and_no_two_are_alike(texts: list[str], tokens: int) -> None:
    found = sentences_of_length(TOKENIZER, texts, tokens)
    assert all(TOKENIZER.encode(sentence.text).ids == sentence.ids for sentence in found)
    assert all(len(sentence.ids) == tokens for sentence in found)
    assert len({sentence.text for sentence in found}) == len(found)


@given(st.integers(3, 200))
def test_ids_of_any_length_keep_their_first_and_last_token(tokens: int) -> None:
    ids = ids_of_length([(2, 4, 5, 3), (2, 6, 3)], tokens)
    assert len(ids) == tokens
    assert (ids[0], ids[-1]) == (2, 3)
    assert set(ids[1:-1]) <= {4, 5, 6}
