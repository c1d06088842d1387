"""Measures kernels beside each other, in one run on one machine."""
