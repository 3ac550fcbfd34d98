"""The run in one table: statistics and money of every forecaster, side by side, with error bars."""

import math
from typing import Any

import pandas as pd

from pipeline.evaluation.evaluation import Evaluation
from pipeline.reporting.tables import Cell, Column, Row, TableOf, table_of
from pipeline.reporting.wording import (
    UNDEFINED,
    ahead,
    basis_points,
    p_value,
    percent,
    plain_number,
    plus_minus,
    rule_in_words,
    signed,
    signed_percent,
)
