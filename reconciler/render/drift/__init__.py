"""Shows a drift report as text, Markdown, HTML, SARIF and more, by pure functions of the report.

It must not know the engine, the ledgers or a terminal; it prints nothing itself.
"""
