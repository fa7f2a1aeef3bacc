"""Shows a plan as text, JSON, Markdown, HTML and JSON Patch, by pure functions of the plan.

It must not know the engine or the command line. It reads its own templates and no other file.
"""
