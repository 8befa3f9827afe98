"""Takes one call from its request to its outcome, exactly once.

call_key.py     the identity of a call
states.py       pure functions: a state and an event give the next state
driver.py       performs the step that a state needs, and records it
price_leg.py    from a request to a price that the policy and the person agree to
payment_leg.py  signs and sends a payment, and finds out whether it was taken
run.py          one run's ownership of a call in the journal
services.py     what the other modules use: service, journal, policy, clock, timing
withdrawal.py   cancels calls that are not paid yet
many.py         runs many calls at once, and yields each when it ends
results.py      turns journal records into results and errors
diagram.py      draws the diagrams of `docs/life-of-a-call.md`
"""
