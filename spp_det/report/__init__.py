"""Figures of data sets and runs, and the one-page report of a run."""
