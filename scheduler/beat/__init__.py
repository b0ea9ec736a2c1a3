"""
The beat: works out when every entry is due and arms each fire on Redis exactly once.

    boot ──▶ follow ──win──▶ lead ──lost, stepped down──▶ follow      stop from anywhere: resign, leave

Any number of beats run; one leads. Followers watch the leader's counter and stand when it has stood still for the lease, or when
a baton says that the leader resigned. A leader plans (`plan.py`, pure), arms and promotes (`tick.py`); a thread beside it renews
the term (`reign.py`). Losing the term makes it a follower again; losing Redis makes it wait. Neither ends the process.
"""
