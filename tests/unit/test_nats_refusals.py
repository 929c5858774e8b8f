"""What the server refuses: every code of its own list is sorted, and no transient one is final."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aixgo.broker.nats.refusals import (
    CONSUMER_CONFLICTS,
    DISABLED,
    FULL,
    LOST_COMPARE_AND_SET,
    NEWEST_KNOWN,
    STORE_FAILED,
    TRANSIENT,
    ApiError,
    is_transient,
    refused_api,
    refused_append,
)
from aixgo.errors import DiskFull, StreamFull, StreamRefused, WrongSequence

Row = tuple[int, int, str, str]

CODES: list[Row] = [
    tuple(row) for row in json.loads((Path(__file__).parent / "nats_errors.json").read_text())
]
"""The server's own list (server/errors.json): error code, class, constant, description."""

NOT_NOW = (409, 429, 503)
"""Classes of which every code has to be looked at: they may mean "try again"."""

FINAL = {
    10010: "this server is not one of a cluster",
    10036: "a cluster cannot do that",
    10063: "a mirror's own condition, which we do not set",
}
"""Codes of these classes that no repetition changes."""


def named(row: Row) -> str:
    return f"{row[0]}-{row[2]}"


@pytest.mark.parametrize("row", [row for row in CODES if row[1] in NOT_NOW], ids=named)
def test_every_code_that_may_mean_try_again_is_sorted(row: Row) -> None:
    places = [
        name
        for name, codes in {
            "transient": TRANSIENT,
            "full": FULL,
            "disabled": DISABLED,
            "final": FINAL,
            "read": {STORE_FAILED},
        }.items()
        if row[0] in codes
    ]
    assert len(places) == 1, f"{row[0]} ({row[3]}) is in {places}; put it into one table"


@pytest.mark.parametrize("code", sorted(TRANSIENT))
def test_a_transient_code_is_tried_again(code: int) -> None:
    (row,) = [row for row in CODES if row[0] == code]
    assert is_transient(ApiError(code=row[1], err_code=code, description=row[3]))


@pytest.mark.parametrize("row", [row for row in CODES if row[0] not in TRANSIENT], ids=named)
def test_every_other_code_is_final(row: Row) -> None:
    assert not is_transient(ApiError(code=row[1], err_code=row[0], description=row[3]))


def test_the_tables_name_codes_of_the_server_only() -> None:
    known = {row[0] for row in CODES}
    tables = [TRANSIENT, FULL, DISABLED, LOST_COMPARE_AND_SET, CONSUMER_CONFLICTS, {STORE_FAILED}]
    assert known.issuperset(set().union(*tables))
    assert max(known) == NEWEST_KNOWN


@pytest.mark.parametrize(
    ("status", "again"), [(429, True), (503, True), (500, False), (400, False)]
)
def test_a_code_of_a_newer_server_is_judged_by_its_class(status: int, again: bool) -> None:
    error = ApiError(code=status, err_code=NEWEST_KNOWN + 1, description="news")
    assert is_transient(error) is again


@pytest.mark.parametrize(
    ("description", "kind", "again"),
    [
        ("maximum bytes exceeded", StreamFull, False),
        ("maximum messages exceeded", StreamFull, False),
        ("maximum messages per subject exceeded", StreamFull, False),
        ("message to large", StreamRefused, False),
        ("store is closed", StreamRefused, True),
        ("write msgs/1.blk: no space left on device", DiskFull, False),
        ("write msgs/1.blk: input/output error", DiskFull, False),
        ("open msgs/2.blk: read-only file system", DiskFull, False),
        ("write msgs/1.blk: disk quota exceeded", DiskFull, False),
    ],
)
def test_a_failed_store_is_told_by_its_text(description: str, kind: type, again: bool) -> None:
    error = ApiError(code=503, err_code=STORE_FAILED, description=description)
    assert is_transient(error) is again
    assert type(refused_append(error, "s.a")) is kind


def test_a_server_whose_storage_is_used_up_says_that_it_is_the_disk() -> None:
    error = refused_append(ApiError(503, 10023, "insufficient resources"), "s.a")
    assert type(error) is StreamFull
    assert "disk" in str(error)


def test_a_removal_that_meets_an_earlier_failed_write_says_disk_and_restart() -> None:
    error = refused_api(ApiError(500, 10051, "write 1.blk: no space left on device"), "S")
    assert type(error) is DiskFull
    assert "disk" in str(error)
    assert "restart the server" in str(error)


@pytest.mark.parametrize("code", sorted(LOST_COMPARE_AND_SET))
def test_a_lost_compare_and_set_is_told_as_such(code: int) -> None:
    assert type(refused_append(ApiError(400, code, "wrong last sequence: 4"), "s.a")) is (
        WrongSequence
    )
