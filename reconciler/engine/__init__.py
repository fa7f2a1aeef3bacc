"""Observe, plan and apply over the ports: knows no face, no file and no HTTP."""
