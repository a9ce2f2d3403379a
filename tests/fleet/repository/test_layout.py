from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import BundleError, SettingsError
from edge_agent.fleet.repository.layout import (
    Channel,
    Published,
    channel_path,
    model_path,
    order,
    parse_channel,
    parse_duration,
)
from edge_agent.inference.manifest import is_name, is_version

NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True).filter(is_name)
NUMBERS = st.integers(0, 999_999_999)
VERSIONS = st.builds(
    lambda numbers, before: ".".join(map(str, numbers)) + before,
    st.tuples(NUMBERS, NUMBERS, NUMBERS),
    st.one_of(st.just(""), st.from_regex(r"-[0-9A-Za-z.-]{1,12}", fullmatch=True)),
).filter(is_version)


@given(st.dictionaries(NAMES, VERSIONS, max_size=5), NAMES)
def test_a_channel_comes_back_as_it_was_written(models: dict[str, str], group: str) -> None:
    assert parse_channel(Channel(group, models).render()) == Channel(group, models)


@given(st.binary(max_size=200))
def test_what_is_no_channel_is_refused_and_nothing_else_happens(content: bytes) -> None:
    with pytest.raises(BundleError):
        parse_channel(content)


@given(st.lists(st.tuples(NAMES, VERSIONS), unique=True, max_size=4))
def test_no_two_models_share_a_path(models: list[tuple[str, str]]) -> None:
    assert len({model_path(*model) for model in models}) == len(models)


@given(VERSIONS, VERSIONS)
def test_any_two_versions_can_be_compared(one: str, other: str) -> None:
    assert (order(one) < order(other)) + (order(other) < order(one)) + (order(one) == order(other)) == 1


def test_versions_are_ordered_as_semantic_versioning_shows_it() -> None:
    before = ["alpha", "alpha.1", "alpha.beta", "beta", "beta.2", "beta.11", "rc.1"]
    shown = [*(f"1.0.0-{text}" for text in before), "1.0.0", "2.0.0", "2.1.0", "2.1.1", "10.0.0"]
    assert all(order(lower) < order(higher) for lower, higher in pairwise(shown))


@given(st.text(max_size=20))
def test_a_group_that_would_leave_its_folder_is_refused(group: str) -> None:
    if is_name(group):
        assert channel_path(group) == f"channels/{group}.json"
    else:
        with pytest.raises(SettingsError):
            channel_path(group)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    )
)
def test_custom_metadata_of_another_form_are_none(document: object) -> None:
    assert Published.from_document(document) is None


def test_custom_metadata_come_back_as_they_were_written() -> None:
    model = Published("home", "1.2.0", "sha256:00", "intent", ("en", "es"), 23)
    assert Published.from_document(model.document()) == model


@pytest.mark.parametrize(("text", "days"), [("14d", 14), ("12h", 0.5), ("1440m", 1)])
def test_a_length_of_time_is_a_number_and_a_unit(text: str, days: float) -> None:
    assert parse_duration(text) == timedelta(days=days)


@pytest.mark.parametrize("text", ["", "14", "d", "0d", "-1d", "1w", "1.5d", "99999999d", "14 d"])
def test_another_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="no length of time"):
        parse_duration(text)
