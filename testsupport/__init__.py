"""Helpers shared by the tests of several packages, `chaos` and `benchmarks`. No product code imports them."""
