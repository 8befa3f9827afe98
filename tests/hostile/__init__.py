"""A malicious service, and what the package must do whatever it answers.

    attack.py          what an attack is: a leg, what it does there, and how the call may end
    honest.py          the answers of an honest service, which attacks replace
    service.py         the malicious service, over raw sockets
    deeds.py           attacks on the connection: cut, reset, drip, never answer
    frames.py          its side of the result socket
    payloads.py        bodies that are dangerous to read: bombs, depths, endless strings
    caller_process.py  the processes that are attacked, one for each HTTP package
    callers.py         starts them, gives them orders, ends them
    trials.py          carries attacks out, and judges how they ended
    test_*.py          the catalogue: each attack is an entry in a list

A test is a round: all attacks of its list at once, a third of them over each HTTP package, beside
friendly calls. Each attack is a subtest, so that a failure has its name. When a round as a whole
shows harm (a dead process, too much memory, disturbed neighbours), each of its attacks is carried
out again alone. `HOSTILE_ALONE=1` always does so; with `CHAOS=full` each attack is made over every
package, and slow payloads are longer.
"""
