"""Measures the leak audit on the five bundled tickers: with 5 origins against its bound, and with every origin.

    python -m tests.benchmarks.audit [every]

Prints the seconds and the verdict; the exit status is the number of misses. A leak found is a miss too.
"""

import sys
from datetime import UTC, datetime

from pipeline.audit.auditing import audit_source
from pipeline.audit.origins import AuditSpec
from pipeline.audit.result import AuditResult
from pipeline.audit.steps import RunInputs
from pipeline.experiment import Experiment
from pipeline.market.sources import open_source
from pipeline.market.validation.validate import ValidationTerms

ORIGINS = 5
BOUND_SECONDS = 60.0


def audited(spec: AuditSpec) -> AuditResult:
    experiment = Experiment()
    source = open_source(experiment.source)
    terms = ValidationTerms(source.returns_from, source.has_actions, datetime.now(UTC), experiment.minimum_sessions)
    return audit_source(source, RunInputs(experiment, source.tickers(), terms, "XNYS"), spec)


def main(names: list[str]) -> int:
    """Measure, and return the number of misses."""
    few = audited(AuditSpec(origins=ORIGINS))
    in_time = few.seconds <= BOUND_SECONDS
    print(few.sentence)
    print(f"  {few.seconds:.1f} s with {ORIGINS} origins, bound {BOUND_SECONDS:g} s: {'met' if in_time else 'MISSED'}")
    missed = [not in_time, not few.passed]
    if "every" in names:
        every = audited(AuditSpec())
        print(every.sentence)
        print(f"  {every.seconds:.1f} s with all {len(every.origins)} origins")
        missed.append(not every.passed)
    return sum(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
