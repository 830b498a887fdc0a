"""The analyses behind the figures of Tanaka et al. 2020 (arXiv 2006.05467), for any network.

A study gives a tidy table and a chart of it; a figure of the paper is drawn from a study or from records.
"""
