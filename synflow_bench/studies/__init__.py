"""Studies: the analyses behind the figures of Tanaka et al. 2020 (arXiv 2006.05467), on any network.

A study gives a tidy table and a chart of it. Importing this package imports no torch.
"""

from synflow_bench.studies._catalogue import STUDIES, Study, find_study
from synflow_bench.studies._table import Row, check_table_path, read_table, table_bytes

__all__ = ["STUDIES", "Row", "Study", "check_table_path", "find_study", "read_table", "table_bytes"]
