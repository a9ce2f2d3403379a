"""The table of a command's states."""

from __future__ import annotations

import pytest

from edge_agent.link.commands import Status
from edge_agent.service.commands.record import Record, from_json, to_json
from edge_agent.service.commands.states import FINAL, TRANSITIONS, Step, advance


def test_the_way_of_a_command_that_goes_well() -> None:
    assert advance(advance(Status.INIT, Step.BEGIN), Step.SUCCEED) is Status.SUCCESSFUL


@pytest.mark.parametrize("status", sorted(FINAL))
@pytest.mark.parametrize("step", Step)
def test_a_final_state_has_no_way_out(status: Status, step: Step) -> None:
    with pytest.raises(ValueError, match=f"a command that is {status.value} cannot {step.value}"):
        advance(status, step)


def test_what_is_not_in_the_table_is_refused() -> None:
    for status in Status:
        for step in Step:
            if (status, step) not in TRANSITIONS:
                with pytest.raises(ValueError, match="cannot"):
                    advance(status, step)


def test_a_command_that_never_began_cannot_succeed() -> None:
    record = Record("self-test", "1", Status.INIT, {}, 1.0)
    with pytest.raises(ValueError, match="init cannot succeed"):
        record.ended(Step.SUCCEED, 2.0, None)


def test_a_record_survives_its_own_form() -> None:
    begun = Record("self-test", "1", Status.INIT, {"a": [1]}, 0.0, mark="3:ab", expires_at=5.0).begun(1.0)
    ended = begun.ended(Step.FAIL, 2.0, "no", {"b": None})
    for record in (begun, ended, ended.without_result()):
        assert from_json(to_json(record)) == record


@pytest.mark.parametrize(
    "change",
    [
        {"status": "done"},
        {"status": None},
        {"id": 5},
        {"asked_at": "now"},
        {"asked_at": True},
        {"asked_at": 1e999},
        {"attempts": 1.5},
        {"arguments": []},
        {"surprise": 1},
    ],
)
def test_what_is_no_record_is_refused(change: dict[str, object]) -> None:
    good = to_json(Record("self-test", "1", Status.INIT, {}, 1.0))
    with pytest.raises(ValueError, match=r"."):
        from_json({**good, **change})
    with pytest.raises(ValueError, match="lacks"):
        from_json({key: value for key, value in good.items() if key != "id"})
