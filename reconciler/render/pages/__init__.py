"""What the pages of plans and of drift reports share: templates, escaping, policy, style, theme.

It must not know what a page shows.
"""
