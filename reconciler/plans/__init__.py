"""Rules about plans: steps, reasons, guards, waves, estimates, evidence, and the saved plan.

Pure functions of values: no input or output, no clock, and no knowledge of any vendor or kind.
"""
