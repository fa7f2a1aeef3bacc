"""A drift report as text, JSON and Markdown: pure functions of the report.

It prints nothing itself.
"""
