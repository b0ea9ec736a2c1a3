"""
What runs tasks: a supervisor that holds the session, and children that run user code.

    process     one worker's life: boot, loop, drain, exit
    supervisor  the event loop: Redis on one side, children on the other
    keeper      the session: opened, renewed, reconciled; the sessions of others, watched
    orders      what people tell it to do, and what it says of itself; about, stacks: when it is asked for more
    unit        the systemd unit it runs in: whether that lets a stop take as long as ours
    intake      when to look for work, and whether it still hears of any (pure); prefetch: how much of it (pure)
    crew        the children as their supervisor sees them; zygote forks them; child is what they do
    execute     message → what became of it; retry decides about another attempt (pure); outcome writes it down
    solo        the same in one process
"""
