"""``bundle.json`` is read strictly: every refusal names the file, the key and the reason."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import BundleError
from edge_agent.inference.manifest import (
    Beyond,
    RegexSettings,
    parse_manifest,
    render_manifest,
)
from edge_agent.inference.variant import TensorNames
from edge_agent.types import Task
from tests.tiny_bundle import tiny_manifest

FILES = {name: {"size": 1, "sha256": "0" * 64} for name in ("model.tflite", "vocab.txt", "golden.jsonl")}


def manifest(**changes: Any) -> dict[str, Any]:
    return {**tiny_manifest(), "files": FILES, **changes}


def test_a_right_manifest_is_read_whole() -> None:
    parsed = parse_manifest(render_manifest(manifest()))
    assert (parsed.name, parsed.version, parsed.task) == ("tiny", "1.0.0", Task.INTENT)
    assert parsed.labels[-1] == parsed.out_of_scope == "out_of_scope"
    assert parsed.input.beyond is Beyond.TRUNCATE
    assert parsed.variants[0].runtimes == ("ai-edge-litert",)
    assert parsed.files["vocab.txt"].size == 1


REGEX = {"type": "regex", "vocabulary": "vocab.txt", "pattern": "[^a]+", "lowercase": True}
TENSORS = {"inputs": {"token_ids": "a", "mask": "b"}, "outputs": {"label_logits": "c"}}


def variants(tensors: Any, *, dynamic: bool = False) -> dict[str, Any]:
    (variant,) = tiny_manifest()["variants"]
    return {"variants": [{**variant, "dynamic_length": dynamic, "tensors": tensors}]}


def test_a_foreign_file_has_names_of_its_own_and_may_split_at_a_pattern() -> None:
    limits = {"max_tokens": 4096, "beyond": "truncate", "window_stride": 1}
    changes = {**variants(TENSORS), "tokenizer": REGEX, "task": "classify", "slot_tags": [], "input": limits}
    parsed = parse_manifest(render_manifest(manifest(**changes)))
    assert parsed.tokenizer == RegexSettings("vocab.txt", "[^a]+", lowercase=True)
    assert parsed.variants[0].tensors == TensorNames({"token_ids": "a", "mask": "b"}, {"label_logits": "c"})
    assert parse_manifest(render_manifest(manifest())).variants[0].tensors is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 2}, "bundle.json: format 2 is unknown"),
        ({"format": "1"}, "format that is not a number is unknown"),
        ({"format": True}, "bundle.json: format True is unknown"),
        ({"name": "../home"}, "name has the wrong form"),
        ({"name": "Home"}, "name has the wrong form"),
        ({"version": "1.0"}, "version has the wrong form"),
        ({"version": "1.0.0\n"}, "version has the wrong form"),
        ({"task": "sing"}, "task is not one of intent, classify, embed"),
        ({"task": "embed"}, "labels do not belong to the task embed"),
        ({"task": "embed", "labels": []}, "out_of_scope is not one of the labels"),
        ({"task": "embed", "labels": [], "out_of_scope": None}, 'slot_tags start with "O" and belong to'),
        ({"task": ["intent"]}, "task is not one of"),
        ({"labels": ["one"], "slot_tags": [], "out_of_scope": None}, "labels has fewer than 2 items"),
        ({"labels": [], "out_of_scope": None}, "labels has fewer than 1 items"),
        ({"labels": ["out_of_scope"]}, "out_of_scope is the only label"),
        ({"labels": ["a", "a"]}, "labels names something twice"),
        ({"labels": "ab"}, "labels is not a list"),
        ({"labels": ["a", 1]}, "labels is not a list of non-empty strings"),
        ({"out_of_scope": "elsewhere"}, "out_of_scope is not one of the labels"),
        ({"slot_tags": ["B-area"]}, 'slot_tags start with "O"'),
        ({"slot_tags": ["O", "X-area"]}, "neither B-<name> nor I-<name>"),
        ({"task": "classify"}, "slot_tags start with"),
        ({"tokenizer": REGEX}, "slot_tags need a tokenizer of the type wordpiece"),
        ({"tokenizer": {**REGEX, "pattern": ""}}, "tokenizer: pattern is not a non-empty string"),
        ({"tokenizer": {**REGEX, "strip_accents": True}}, "tokenizer: unknown key 'strip_accents'"),
        (variants(TENSORS, dynamic=True), "dynamic_length is true, where the tensors have names"),
        (variants(None), "variants[0]: tensors is not an object"),
        (variants({**TENSORS, "inputs": {}}), "tensors: inputs has no token_ids"),
        (variants({**TENSORS, "inputs": {"token_ids": "a", "mask": "a"}}), "is the name of another tensor"),
        (variants({**TENSORS, "inputs": {"ids": "a"}}), "inputs: unknown key 'ids'"),
        (variants({**TENSORS, "outputs": {}}), "outputs is not one of label_logits and label_probabilities"),
        (
            {"calibration": {"temperature": 0, "threshold": 0.5, "margin": 0}},
            "calibration: temperature is not a",
        ),
        (
            {"calibration": {"temperature": 1, "threshold": "high", "margin": 0}},
            "calibration: threshold is not a",
        ),
        (
            {"calibration": {"temperature": 1, "threshold": 1, "margin": 10**400}},
            "calibration: margin is not a",
        ),
        ({"calibration": {"threshold": 1, "margin": 0}}, "calibration: temperature is missing"),
        (
            {"input": {"max_tokens": 2, "beyond": "truncate", "window_stride": 1}},
            "input: max_tokens is not a whole",
        ),
        ({"input": {"max_tokens": 32, "beyond": "wrap", "window_stride": 1}}, "input: beyond is not one of"),
        (
            {"input": {"max_tokens": 32, "beyond": "window", "window_stride": 31}},
            "input: window_stride is not",
        ),
        ({"variants": []}, "variants has fewer than 1"),
        ({"variants": [3]}, "variants is not a list of objects"),
        ({"golden": {"file": "other.jsonl", "min_cosine": 0.9}}, "other.jsonl is used but not listed"),
        ({"golden": {"file": "../golden.jsonl", "min_cosine": 0.9}}, "golden: file has the wrong form"),
        ({"files": {"../evil": FILES["vocab.txt"]}}, "../evil is not the plain name"),
        ({"files": {"bundle.json": FILES["vocab.txt"]}}, "bundle.json is not the plain name"),
        (
            {"files": {"vocab.txt": {"size": -1, "sha256": "0" * 64}}},
            "files: vocab.txt: size is not a whole number",
        ),
        (
            {"files": {"vocab.txt": {"size": 1, "sha256": "zz"}}},
            "files: vocab.txt: sha256 has the wrong form",
        ),
        ({"teacher": "big"}, "teacher is not an object"),
        ({"metrics": None}, "metrics is not an object"),
        ({"colour": "red"}, "unknown key 'colour'"),
    ],
)
def test_a_wrong_key_is_named_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(BundleError) as refusal:
        parse_manifest(json.dumps(manifest(**changes)).encode())
    assert str(refusal.value).startswith("bundle.json: ")
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_misspelled_key_is_answered_with_the_nearest() -> None:
    with pytest.raises(BundleError, match="unknown key 'lable'") as refusal:
        parse_manifest(render_manifest(manifest(lable=[])))
    assert refusal.value.hint == "did you mean 'labels'?"


@pytest.mark.parametrize("key", sorted(manifest()))
def test_a_missing_key_is_named(key: str) -> None:
    values = manifest()
    del values[key]
    with pytest.raises(BundleError, match=f"bundle.json: {key} is missing"):
        parse_manifest(render_manifest(values))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[]", "not a JSON object"),
        (b'{"format": 1', "not JSON"),
        (b'{"format": 1, "format": 1}', "a key stands twice"),
        (b'{"format": NaN}', "NaN is not a number of JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"format": ' + b"9" * 10_000 + b"}", "bundle.json: "),
    ],
)
def test_what_is_not_a_json_object_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(BundleError) as refusal:
        parse_manifest(content)
    assert reason in str(refusal.value)
    assert len(str(refusal.value)) < 300


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(manifest())), json_values)
def test_any_value_for_any_key_is_taken_or_refused_as_a_bundle_error(key: str, value: Any) -> None:
    with suppress(BundleError):
        parse_manifest(json.dumps(manifest(**{key: value})).encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_as_a_bundle_error(content: bytes) -> None:
    with pytest.raises(BundleError):
        parse_manifest(content)
