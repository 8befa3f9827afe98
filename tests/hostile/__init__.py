"""A malicious service, and what the package must do whatever it answers.

    attack.py          what an attack is: a leg, what it does there, and how the call may end
    honest.py          the answers of an honest service, which attacks replace
    service.py         the malicious service, over raw sockets
    deeds.py           attacks on the connection: cut, reset, drip, never answer
    frames.py          its side of the result socket
    payloads.py        bodies that are dangerous to read: bombs, depths, endless strings
    caller_process.py  the process that is attacked; ten friendly calls run beside each attack
    trials.py          runs attacks against such processes, and judges how they ended
    test_*.py          the catalogue: each attack is an entry in a list

Attacks run in rounds: several at once beside ten friendly calls. When a round as a whole goes wrong
(a dead process, too much memory, disturbed neighbours), each of its attacks runs again alone.
`HOSTILE_ALONE=1` always runs them alone; `CHAOS=full` adds those that last longer than a minute.
"""
