"""The benchmark of families runs and tells them apart."""

from __future__ import annotations

from tests.benchmarks.families import FAMILIES, SCHEMES, TOKENS, measure, new_family, table


def test_the_table_has_a_row_for_each_scheme_of_a_family() -> None:
    measured = measure(["BERT-tiny"], vocabulary=500, rounds=1)
    assert [each.scheme for each in measured] == list(SCHEMES)
    assert measured[1].megabytes < 0.7 * measured[0].megabytes
    assert all(each.milliseconds[tokens] > 0 for each in measured for tokens in TOKENS)
    assert len(table(measured).splitlines()) == 2 + len(SCHEMES)


def test_every_family_has_the_parameters_of_its_paper() -> None:
    millions = {
        family: sum(parameter.numel() for parameter in new_family(family, 30_522).parameters()) / 1e6
        for family in FAMILIES
    }
    published = {
        "BERT-tiny": 4.4,
        "TinyBERT-4": 14.5,
        "MiniLM-L6": 22.7,
        "DistilBERT": 66.4,
        "MobileBERT": 25.3,
    }
    for family, expected in published.items():
        assert abs(millions[family] - expected) < 0.05 * expected, family
