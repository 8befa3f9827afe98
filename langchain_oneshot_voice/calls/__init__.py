"""The life of one call, from request to outcome, exactly once.

call_key.py     which call is this
states.py       pure: a state and an event give the next state
driver.py       carries out what a state asks for, and records it
price_leg.py    from a request to a price that everybody has agreed to
payment_leg.py  signing, presenting, and learning a payment's fate
run.py          one run's hold on the call in the journal
services.py     what all of them work with: service, journal, policy, clock, times
withdrawal.py   taking back calls that are not paid yet
many.py         many calls at once, each handed out as it ends
results.py      what a record amounts to for the caller
"""
