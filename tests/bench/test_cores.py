from __future__ import annotations

import os
from pathlib import Path

from edge_agent.bench.cores import choose_cores, pinned, thread_siblings


def alone(core: int) -> set[int]:
    return {core}


def test_the_model_gets_the_last_core_and_the_rest_the_first() -> None:
    cores = choose_cores({0, 1, 2, 3}, alone)
    assert (cores.model, cores.others, cores.note) == (3, 0, None)


def test_a_hardware_thread_of_the_models_core_is_passed_over() -> None:
    cores = choose_cores({2, 3, 6, 7}, lambda core: {core % 4, core % 4 + 4})
    assert (cores.model, cores.others, cores.note) == (7, 2, None)


def test_two_hardware_threads_of_one_core_are_taken_and_noted() -> None:
    cores = choose_cores({0, 1}, lambda core: {0, 1})
    assert (cores.model, cores.others) == (1, 0)
    assert cores.note is not None
    assert "hardware threads" in cores.note


def test_with_one_core_nothing_is_pinned_and_that_is_noted() -> None:
    cores = choose_cores({5}, alone)
    assert (cores.model, cores.others) == (None, None)
    assert cores.note is not None


def test_siblings_are_read_from_sysfs_in_both_of_its_forms(tmp_path: Path) -> None:
    for core, listed in ((0, "0,4\n"), (1, "1-2\n")):
        folder = tmp_path / f"cpu{core}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(listed)
    assert thread_siblings(0, tmp_path) == {0, 4}
    assert thread_siblings(1, tmp_path) == {1, 2}
    assert thread_siblings(9, tmp_path) == {9}


def test_the_thread_is_put_back_where_it_was() -> None:
    before = os.sched_getaffinity(0)
    with pinned(max(before)):
        assert os.sched_getaffinity(0) == {max(before)}
    with pinned(None):
        assert os.sched_getaffinity(0) == before
    assert os.sched_getaffinity(0) == before
