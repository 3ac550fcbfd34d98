"""Series from files: what is read, when it may be used, and files that are refused by name."""

import gzip
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.dataset.covariates.from_files import (
    FileCovariates,
    read_file_covariates,
    read_known_future_covariate,
    read_past_covariate,
    refuse_mismatched_files,
)
from pipeline.dataset.covariates.known_future import KnownFutureCovariate
from pipeline.dataset.covariates.past import PastCovariate
from pipeline.dataset.covariates.specification import KnownFutureSeriesSpec, PastSeriesSpec
from pipeline.errors import TapecastError, UsageError

ROWS = "date,close\n2024-01-02,13.5\n2024-01-03,14\n2024-01-05,12.25\n"


def past(path: Path, **values: object) -> PastSeriesSpec:
    return PastSeriesSpec.model_validate(
        {"name": "vix", "path": path, "column": "close", "publication_lag_days": 1, **values}
    )


def known(path: Path, **values: object) -> KnownFutureSeriesSpec:
    return KnownFutureSeriesSpec.model_validate(
        {"name": "fed", "path": path, "column": "close", "known_in_advance": True, **values}
    )


def written(folder: Path, text: str, name: str = "vix.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def numbers(found: PastCovariate | KnownFutureCovariate) -> list[float]:
    return found.values.tolist()  # noqa: PD011  no frame of pandas


def instants(*texts: str) -> list[datetime]:
    return np.array(texts, "datetime64[s]").tolist()


def test_a_day_s_value_may_be_used_from_the_end_of_the_day_and_the_lag_on(tmp_path: Path) -> None:
    found = read_past_covariate(past(written(tmp_path, ROWS), transform="level"))
    assert isinstance(found, PastCovariate)
    assert found.known_from.tolist() == instants("2024-01-04", "2024-01-05", "2024-01-07")
    assert numbers(found) == [13.5, 14.0, 12.25]
    assert (found.changes, found.max_age_days, found.source_name) == (False, 14.0, str(tmp_path / "vix.csv"))


@pytest.mark.parametrize(
    ("lag", "first"), [(0, "2024-01-03T00:00:00"), (0.5, "2024-01-03T12:00:00"), (30, "2024-02-02T00:00:00")]
)
def test_the_lag_is_counted_in_calendar_days(tmp_path: Path, lag: float, first: str) -> None:
    found = read_past_covariate(past(written(tmp_path, ROWS), publication_lag_days=lag))
    assert found.known_from.tolist()[0] == instants(first)[0]


@pytest.mark.parametrize(
    ("written_as", "first"),
    [
        (["2024-01-02T16:15", "2024-01-03T00:00"], "2024-01-02T16:15:00"),  # no offset: UTC
        (["2024-01-02 16:15:00-05:00", "2024-01-03 16:15:00-05:00"], "2024-01-02T21:15:00"),
        (["2024-01-02T16:15:00.25Z", "2024-01-03T16:15:00Z"], "2024-01-02T16:15:01"),  # never known early
        (["2024-01-02 00:00:00-05:00", "2024-01-03 00:00:00-05:00"], "2024-01-03T05:00:00"),  # a day in New York
        (["2024-01-02 00:00:00", "2024-01-03 00:00:00"], "2024-01-03T00:00:00"),
    ],
)
def test_a_time_counts_where_one_is_given_and_midnights_alone_are_days(
    tmp_path: Path, written_as: list[str], first: str
) -> None:
    text = "date,close\n" + "".join(f"{instant},1\n" for instant in written_as)
    found = read_past_covariate(past(written(tmp_path, text), publication_lag_days=0))
    assert found.known_from.tolist()[0] == instants(first)[0]


FRAME = pd.DataFrame({"date": [date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 5)], "close": [13.5, 14.0, 12.25]})


@pytest.mark.parametrize("kind", ["date", "timestamp", "zoned", "text"])
def test_parquet_reads_the_same_as_csv(tmp_path: Path, kind: str) -> None:
    stamps = pd.to_datetime(FRAME["date"])
    columns = {
        "date": FRAME["date"],
        "timestamp": stamps,
        "zoned": stamps.dt.tz_localize("UTC"),
        "text": stamps.dt.strftime("%Y-%m-%d"),
    }
    FRAME.assign(date=columns[kind]).to_parquet(tmp_path / "vix.parquet", index=False)
    found, expected = (
        read_past_covariate(past(tmp_path / "vix.parquet")),
        read_past_covariate(past(written(tmp_path, ROWS))),
    )
    assert found.known_from.tolist() == expected.known_from.tolist()
    assert numbers(found) == numbers(expected)


def test_columns_are_found_in_any_case_and_a_compressed_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "vix.csv.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbfDATE, Close ,Open\n2024-01-02, 13.5 ,1\n2024-01-03,1.4e1,2\n"))
    assert numbers(read_past_covariate(past(path))) == [13.5, 14.0]
    other = written(tmp_path, "observation_date,DGS10\n2024-01-02,3.95\n")
    found = read_past_covariate(past(other, column="DGS10", date_column="observation_date"))
    assert numbers(found) == [3.95]


@pytest.mark.parametrize(
    ("transform", "changes", "values"),
    [
        ("level", False, [13.5, 14.0, 12.25]),
        ("change", True, [13.5, 14.0, 12.25]),
        ("log_level", False, np.log([13.5, 14.0, 12.25]).tolist()),
        ("log_change", True, np.log([13.5, 14.0, 12.25]).tolist()),
    ],
)
def test_the_transformation_is_kept(tmp_path: Path, transform: str, changes: bool, values: list[float]) -> None:
    found = read_past_covariate(past(written(tmp_path, ROWS), transform=transform))
    assert (found.changes, numbers(found)) == (changes, values)


def test_what_is_known_in_advance_is_of_another_type_and_has_days(tmp_path: Path) -> None:
    found = read_known_future_covariate(known(written(tmp_path, ROWS)))
    assert isinstance(found, KnownFutureCovariate)
    assert not isinstance(found, PastCovariate)
    assert found.days.tolist() == [date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 5)]
    assert numbers(found) == [13.5, 14.0, 12.25]
    zoned = "date,close\n2024-01-02 00:00:00-05:00,1\n2024-01-03 00:00:00-05:00,2\n"
    assert read_known_future_covariate(known(written(tmp_path, zoned))).days.tolist() == [
        date(2024, 1, 2),
        date(2024, 1, 3),
    ]


BAD = {
    "an empty file": ("", "found an empty file .*vix.csv, expected date and close"),
    "no rows": ("date,close\n", "found no rows in .*vix.csv"),
    "no date": ("day,close\n2024-01-02,1\n", r"found no column date in .*vix.csv \(it has day, close\)"),
    "no value": ("date,open\n2024-01-02,1\n", r"found no column close in .*\(it has date, open\)"),
    "two of them": ("date,Close,CLOSE\n2024-01-02,1,2\n", "found 2 columns close in"),
    "a date of another form": ("date,close\n01/02/2024,1\n", "row 1 of .*found '01/02/2024', expected a date such as"),
    "a week": ("date,close\n2024-W01-1,1\n", "row 1 of .*found '2024-W01-1', expected a date such as"),
    "no such day": ("date,close\n2024-02-28,1\n2024-02-30,1\n", "row 2 of .*found '2024-02-30', expected a date"),
    "a missing date": ("date,close\n2024-02-28,1\n,1\n", "row 2 of .*found '', expected a date"),
    "a gap": ("date,close\n2024-01-02,1\n2024-01-03,\n", "row 2 of .*found '' at 2024-01-03, expected a finite number"),
    "a dot": ("date,close\n2024-01-02,.\n", "row 1 of .*found '.' at 2024-01-02, expected a finite number"),
    "no number": (
        "date,close\n2024-01-02,abc\n",
        "found 'abc' at 2024-01-02, expected a finite .* in column close",
    ),
    "an infinite one": ("date,close\n2024-01-02,inf\n", "found 'inf' at 2024-01-02, expected a finite number"),
    "a day twice": ("date,close\n2024-01-02,1\n2024-01-02,2\n", "row 2 of .*expected a later date than in the row"),
    "newest first": (
        "date,close\n2024-01-03,1\n2024-01-02,2\n",
        "row 2 of .*found '2024-01-02'.*a later date",
    ),
    "more cells": (
        "date,close\n2024-01-02,1,2\n2024-01-03,1\n",
        "cannot read .*vix.csv: found .*expected CSV or",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_cannot_be_used_is_reported_with_its_row(tmp_path: Path, case: str) -> None:
    text, message = BAD[case]
    for read, spec in ((read_past_covariate, past), (read_known_future_covariate, known)):
        with pytest.raises(UsageError, match=message):
            read(spec(written(tmp_path, text)))


def test_a_missing_file_or_one_of_another_format_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"found no file .*none\.csv, expected a series there"):
        read_past_covariate(past(tmp_path / "none.csv"))
    for name in ("vix.parquet", "vix.csv.gz"):
        with pytest.raises(UsageError, match=rf"cannot read .*{name}.*export it again"):
            read_past_covariate(past(written(tmp_path, "date,close\n2024-01-02,1\n", name)))
    (tmp_path / "latin.csv").write_bytes(b"date,close\n2024-01-02,\xe9\n")
    with pytest.raises(UsageError, match="cannot read"):
        read_past_covariate(past(tmp_path / "latin.csv"))


def test_a_logarithm_wants_values_above_zero(tmp_path: Path) -> None:
    path = written(tmp_path, "date,close\n2024-01-02,1\n2024-01-03,0\n")
    assert numbers(read_past_covariate(past(path))) == [1.0, 0.0]
    with pytest.raises(UsageError, match=r"row 2 of .*found '0\.0' at 2024-01-03, expected a number above 0"):
        read_past_covariate(past(path, transform="log_change"))


def test_times_of_what_is_known_in_advance_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"fed from .*: found times such as 2024-01-02T16:15, expected days"):
        read_known_future_covariate(known(written(tmp_path, "date,close\n2024-01-02T16:15,1\n")))
    twice = "date,close\n2024-01-02T00:00+00:00,1\n2024-01-02T00:00-05:00,2\n"
    with pytest.raises(UsageError, match=r"row 2 of .*expected each day once"):
        read_known_future_covariate(known(written(tmp_path, twice)))


def test_all_files_of_a_run_are_read_each_into_its_own_type(tmp_path: Path) -> None:
    (tmp_path / "sectors.csv").write_text("ticker,sector\nA,Tech\n")
    path = written(tmp_path, ROWS)
    file_covariates = read_file_covariates(
        tmp_path / "sectors.csv", (known(path), past(path), past(path, name="other"))
    )
    assert [covariate.name for covariate in file_covariates.past] == ["vix", "other"]
    assert [covariate.name for covariate in file_covariates.known_future] == ["fed"]
    assert file_covariates.sectors is not None
    assert file_covariates.sectors.of(("A",)) == ("Tech",)
    assert read_file_covariates(None, ()) == FileCovariates()
    refuse_mismatched_files(
        file_covariates, tmp_path / "sectors.csv", (known(path), past(path), past(path, name="other"))
    )
    with pytest.raises(TapecastError, match="read them with read_file_covariates"):
        refuse_mismatched_files(FileCovariates(), None, (past(path),))
    with pytest.raises(TapecastError, match="read them with read_file_covariates"):
        refuse_mismatched_files(file_covariates, None, (known(path), past(path), past(path, name="other")))
