"""Asks a person to approve a call and its price before anything is paid.

    decisions.py   the possible answers, and how they are parsed
    questions.py   what a person sees, and the id that binds an answer to a question
    agreement.py   whether a price needs a person's approval
    pause.py       pauses a LangGraph graph, and records the answers that it is resumed with

Source of the formats: LangChain's human-in-the-loop middleware (`ToolApprovalRequest`, decisions).
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
