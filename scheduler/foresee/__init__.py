"""
What will happen, from definitions alone and without running anything. Pure, but for asking croniter (`peers`).

`due` gives the fires of entries over a span, `load` counts them, `warnings` sees what is rarely meant, `plan` compares files with
what is in force, `peers` reads expressions as others do.
"""
