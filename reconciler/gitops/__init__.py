"""Pull requests: comments, statuses and reviews on GitHub, Azure Repos and GitLab.

It gets rendered text and shows it on the forge. It must not know plans, manifests or services, and
only `transport` sends its calls. `forge` holds the protocol, `forges/` the adapters.
"""
