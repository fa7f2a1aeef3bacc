"""Plans, findings and events as text; a face computes nothing, it shows.

Every function takes values and returns text. Names and values from outside are escaped here,
so that no terminal is moved by what a service or a manifest says.
"""
