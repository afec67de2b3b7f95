"""Who votes, who stands by and who holds a role. Pure: facts and the time in, one step out.

Theory: the leader is the autopilot. Every second it looks at the configuration, at what it knows of each
member's log first hand, and at what the fabric says of its nodes, and takes at most one step. Steps begin
from what is, never from what was meant, so a step that failed or a leader that died leaves nothing behind:
the next look decides again. What it remembers (since when somebody is caught up, who was invited) only
makes it wait, and a new leader waits again.

Start reading at `autopilot`. `choice` says which voters, `learners` who stands by, `spread` who comes first,
`view` what is believed of a member; `explain` says it to people; `roles` and `leases` are about other roles.
"""
