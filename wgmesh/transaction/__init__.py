"""Stage, snapshot, apply, prove, confirm or undo; and recover what was cut short.

The order is that of the page "Applying and rolling back". The flip of the boot link is the commit
point: before it everything leads back to the snapshot, after it everything leads forward.
"""
