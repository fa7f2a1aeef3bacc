"""Observes resources, makes plans and applies them, through the ports only.

The commands call this folder with a `Runtime`, which holds the implementations of the ports.
This folder must not know the command line, any file format, HTTP or any vendor.
"""
