"""A plan as text, JSON, Markdown, HTML and JSON Patch: pure functions of the plan.

It reads no file but its own templates, and prints nothing itself.
"""
