"""The do-not-call list: find opt-outs in a transcript, and record them.

    phrases.py   finding an opt-out in a transcript, in six languages
    numbers.py   reading numbers as people write them
    opt_outs.py  the one place that puts the numbers of a call on the list

The journal stores the list, for everyone who shares it.
"""

from langchain_oneshot_voice.do_not_call.numbers import read_listed
from langchain_oneshot_voice.do_not_call.opt_outs import (
    find_opt_out,
    record_opt_out,
    suppress_opt_outs,
)

__all__ = ["find_opt_out", "read_listed", "record_opt_out", "suppress_opt_outs"]
