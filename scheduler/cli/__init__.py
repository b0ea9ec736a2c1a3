"""
`sched`: parses, wires, prints. The one package that may know every other; nobody imports it.

    main.py        from argv to an exit code; every error becomes a line for people
    commands.py    the table of commands: help line and home of each, so that `sched --help` imports none of them
    invocation.py  what this call of `sched` was told, and what follows from it: config, store, zone, output
    output.py      table, json or jsonl
    …              one file for each family of commands
"""
