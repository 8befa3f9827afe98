"""People who do not want to be called again.

    phrases.py   hearing it in what was said, in six languages
    numbers.py   reading numbers as people write them down
    opt_outs.py  the one place that lists the numbers of a call

The list itself is in the journal, for everybody who shares it.
"""

from langchain_oneshot_voice.do_not_call.numbers import read_listed
from langchain_oneshot_voice.do_not_call.opt_outs import hear_opt_out, list_opt_outs

__all__ = ["hear_opt_out", "list_opt_outs", "read_listed"]
