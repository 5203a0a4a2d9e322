"""What tests of several packages, `chaos` and `benchmarks` share. No product code imports it."""
