"""From the specification of a head to the head."""

from pipeline.models.heads.direction import direction_head
from pipeline.models.heads.head import Head
from pipeline.models.heads.mixture import mixture_head
from pipeline.models.heads.point import point_head
from pipeline.models.heads.quantiles import quantile_head
from pipeline.models.heads.student import student_head
from pipeline.models.specification import (
    DirectionHeadSpec,
    HeadSpec,
    MixtureHeadSpec,
    PointHeadSpec,
    QuantileHeadSpec,
    StudentHeadSpec,
)


def head_of(spec: HeadSpec) -> Head:
    """Return the head of a specification."""
    match spec:
        case QuantileHeadSpec():
            return quantile_head()
        case PointHeadSpec():
            return point_head(spec)
        case StudentHeadSpec():
            return student_head()
        case MixtureHeadSpec():
            return mixture_head(spec)
        case DirectionHeadSpec():
            return direction_head(spec)
