"""The policy: who may be called, when, how often and for how much.

    call_policy.py    CallPolicy: the limits, and the check of a quote
    screening.py      finding every problem of a request in one pass
    numbers.py        reading a phone number, and refusing numbers that must not be called
    calling_hours.py  checking the local time of the person called
    disclosure.py     stating that the caller is an AI

`phonenumbers` is slow to import, so it is imported when the first call is screened.
"""

from langchain_oneshot_voice.policy.call_policy import CallPolicy, PolicyCheck
from langchain_oneshot_voice.policy.disclosure import disclosing
from langchain_oneshot_voice.wording import DISCLOSURE

__all__ = ["DISCLOSURE", "CallPolicy", "PolicyCheck", "disclosing"]
