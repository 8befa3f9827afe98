"""Asking a person, with the price in front of them, before anything is paid.

    decisions.py   what a person can answer, and how an answer is read
    questions.py   what a person is shown, and the id that binds an answer to it
    agreement.py   whether a price needs a person's yes
    pause.py       pausing a LangGraph graph, and hearing the answers that it is resumed with

Source of the shapes: LangChain's human-in-the-loop middleware (`ToolApprovalRequest`, decisions).
"""

from langchain_oneshot_voice.approval.decisions import (
    Approval,
    ApprovalFunction,
    Approve,
    Decision,
    Edit,
    EditedCall,
    Reject,
    Respond,
)

__all__ = [
    "Approval",
    "ApprovalFunction",
    "Approve",
    "Decision",
    "Edit",
    "EditedCall",
    "Reject",
    "Respond",
]
