"""What an unattended run shows to other programs: metrics, health, pages and webhooks.

It gets the cycles and the events of a run, and never steers the run. It must not know manifests,
kinds or how a page is rendered, and only `transport` sends its calls.
"""
