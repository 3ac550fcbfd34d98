"""Descriptions of sources: read back as written, refused where they make no sense."""

import subprocess
import sys
from datetime import UTC, date, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.errors import UsageError
from pipeline.market.specification import (
    FilesSource,
    SampleSource,
    SourceSpec,
    StoredSource,
    SyntheticSource,
    YahooSource,
    known_at,
)

AT = datetime(2026, 10, 1, 22, tzinfo=UTC)

ADAPTER: TypeAdapter[SourceSpec] = TypeAdapter(SourceSpec)


@pytest.mark.parametrize(
    "spec", [SampleSource(), FilesSource(path="prices.csv"), YahooSource(), SyntheticSource(process="sine")]
)
def test_a_description_survives_json(spec: SourceSpec) -> None:
    assert ADAPTER.validate_json(ADAPTER.dump_json(spec)) == spec


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ({"kind": "sampel"}, "sampel"),
        ({"kind": "sample", "path": "x"}, "Extra inputs"),
        ({"kind": "files"}, "Field required"),
        ({"kind": "synthetic", "process": "sine", "noise": 0}, "greater than 0"),
        ({"kind": "synthetic", "process": "planted", "strength": 1.0}, "between -1 and 1"),
        ({"kind": "synthetic", "process": "random_walk", "strength": 1.0}, "leave it out"),
        ({"kind": "synthetic", "process": "planted_volatility", "strength": 2.0}, "from 0 to 0.5"),
    ],
)
def test_nonsense_is_refused(written: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        ADAPTER.validate_python(written)


def test_descriptions_are_light_to_import() -> None:
    heavy = "{'numpy', 'torch', 'yfinance', 'exchange_calendars', 'pyarrow'}"
    code = f"import sys, pipeline.market.specification; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_what_is_known_at_an_instant_keeps_the_rest_of_the_description() -> None:
    yahoo = YahooSource(start=date(2010, 1, 4), max_age_sessions=3)
    assert known_at(yahoo, AT) == StoredSource(as_known=AT, start=date(2010, 1, 4), max_age_sessions=3)
    stored = StoredSource(collection="mine", start=date(2010, 1, 4))
    assert known_at(stored, AT) == StoredSource(collection="mine", start=date(2010, 1, 4), as_known=AT)
    with pytest.raises(UsageError, match="found source sample to be known at 2026-10-01 22:00"):
        known_at(SampleSource(), AT)
