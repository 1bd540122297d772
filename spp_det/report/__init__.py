"""Figures of data sets and runs."""
