"""The life of one call, from request to result, exactly once.

call_run.py    CallRun, the story: claim, agree, sign, send, wait
hold.py        a worker's hold on a call in the journal
agreement.py   from a request to a price that everybody has agreed to
settlement.py  presenting a payment, and learning what became of it
"""

from langchain_oneshot_voice.lifecycle.call_run import CallRun, Lines
from langchain_oneshot_voice.lifecycle.settlement import Patience

__all__ = ["CallRun", "Lines", "Patience"]
