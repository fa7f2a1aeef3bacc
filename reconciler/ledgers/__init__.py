"""What was applied, kept in order; every class here passes one and the same suite of tests.

An entry is durable before it counts, and no entry ever holds a secret. lines.py knows what a line
says, chain.py how lines follow one another, proof.py whether they do; lease.py knows what is the
same for every lock. None of these reads or writes anything.
"""
