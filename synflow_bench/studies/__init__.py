"""Studies: the analyses behind the figures of Tanaka et al. 2020 (arXiv 2006.05467), on any network.

A study gives a tidy table and a chart of it. Importing this package imports no torch.
"""

from synflow_bench.studies._catalogue import STUDIES, Study, find_study
from synflow_bench.studies._figures import FIGURES, SCALES, Figure, Scale, find_figure
from synflow_bench.studies._table import Row, aligned, check_table_path, read_table, table_bytes

__all__ = [
    "FIGURES",
    "SCALES",
    "STUDIES",
    "Figure",
    "Row",
    "Scale",
    "Study",
    "aligned",
    "check_table_path",
    "find_figure",
    "find_study",
    "read_table",
    "table_bytes",
]
