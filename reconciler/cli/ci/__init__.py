"""What the commands of `reconciler ci` share: the job, the request, its comment, the artifacts.

`session` finds the forge and writes to it, `artifacts` writes the folder that a job keeps,
`planning`, `applying` and `drifting` are the commands.
"""
