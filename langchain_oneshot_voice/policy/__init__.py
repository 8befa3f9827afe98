"""Who may be called, when, how often and for how much.

    call_policy.py    CallPolicy: the limits, and what a price means under them
    screening.py      every problem that a policy has with a request, found at once
    numbers.py        reading a phone number, and refusing those that nobody should call
    calling_hours.py  whether it is a decent hour where the phone rings

`phonenumbers` is imported when the first call is screened.
"""

from langchain_oneshot_voice.policy.call_policy import CallPolicy, PolicyCheck
from langchain_oneshot_voice.policy.disclosure import disclosing
from langchain_oneshot_voice.wording import DISCLOSURE

__all__ = ["DISCLOSURE", "CallPolicy", "PolicyCheck", "disclosing"]
