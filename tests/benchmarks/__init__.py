"""How fast it is, as ratios measured in one run: `python -m tests.benchmarks`.

Each figure stands beside that of a yardstick which does the least that could be done, on the same
machine at the same time, the two taking turns. Nothing here is a test: a busy machine is no defect.
"""
