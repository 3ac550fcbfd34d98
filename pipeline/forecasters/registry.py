"""Every forecaster, in one tuple; their order is that of all tables and figures."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field, TypeAdapter

from pipeline.forecasters import (
    boosting,
    climatology,
    drift,
    ewma,
    garch,
    har,
    last_close,
    linear,
    pretrained,
    ridge,
)
from pipeline.forecasters.forecaster import Forecaster, Specification
from pipeline.forecasters.recurrent import as_forecaster as recurrent

FORECASTERS: tuple[Forecaster, ...] = (
    recurrent.FORECASTER,
    climatology.FORECASTER,
    last_close.FORECASTER,
    drift.FORECASTER,
    ewma.FORECASTER,
    linear.FORECASTER,
    garch.FORECASTER,
    har.FORECASTER,
    ridge.FORECASTER,
    boosting.FORECASTER,
    pretrained.FORECASTER,
)
"""To add a forecaster, write its file and add it here; everything else follows from the tuple."""

_BY_KIND: Mapping[str, Forecaster] = {forecaster.kind: forecaster for forecaster in FORECASTERS}

BASELINES: tuple[Specification, ...] = tuple(
    forecaster.specification() for forecaster in FORECASTERS if forecaster.role == "baseline"
)
"""The simple forecasters of every run: every score is compared with theirs."""
COMBINED_KINDS = tuple(forecaster.kind for forecaster in FORECASTERS if forecaster.combined)
"""The forecasters that are combined, where a run has them."""
DEFAULT_BENCHMARKS: tuple[Specification, ...] = (garch.GarchSpec(), har.HarSpec(), ridge.RidgeSpec())
"""The further forecasters of a run whose experiment names none: they cost little, and the combination gains by them."""
BENCHMARK_KINDS = tuple(forecaster.kind for forecaster in FORECASTERS if forecaster.role == "benchmark")

if TYPE_CHECKING:
    ForecasterSpec = Specification
    BenchmarkSpec = Specification
else:
    _BENCHMARKS = [forecaster.specification for forecaster in FORECASTERS if forecaster.role == "benchmark"]
    BenchmarkSpec = Annotated[Union[tuple(_BENCHMARKS)], Field(discriminator="kind")]  # noqa: UP007  from a tuple
    ForecasterSpec = Annotated[
        Union[tuple(forecaster.specification for forecaster in FORECASTERS)],  # noqa: UP007
        Field(discriminator="kind"),
    ]

_SPECIFICATION: TypeAdapter[Any] = TypeAdapter(ForecasterSpec)


def forecaster_of(spec: Specification) -> Forecaster:
    """Return the kind of forecaster that a specification is of."""
    return _BY_KIND[spec.kind]


def forecaster_as_json(spec: Specification) -> dict[str, object]:
    """Return the specification as plain JSON values."""
    return _SPECIFICATION.dump_python(spec, mode="json")  # type: ignore[no-any-return]


def forecaster_from_json(values: object) -> Specification:
    """Return the specification described by plain JSON values; raises pydantic.ValidationError on unknown ones."""
    spec: Specification = _SPECIFICATION.validate_python(values)
    return spec
