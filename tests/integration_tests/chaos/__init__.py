"""What the proofs of "exactly once" share: the fault matrix, the kill run, and their tables.

Here things are only run and counted; the tests and `benchmarks/chaos.py` say how much of it, and
judge the counts.
"""
