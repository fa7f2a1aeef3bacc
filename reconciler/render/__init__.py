"""Shows plans, drift reports, events, findings and history as text, JSON, Markdown and HTML.

Every function takes values and returns text. It must not know the engine, the ledgers or files.
It escapes every name and value from outside, so that no text can control a terminal.
"""
