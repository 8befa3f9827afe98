"""Everything public can be built from what is public: nobody has to import from the inside."""

from __future__ import annotations

import pytest

import langchain_oneshot_voice

KEY = "0x" + "1" * 64

TOKEN = "oneshot_" + "1" * 64

RECIPES = {
    "AccessToken": "AccessToken(TOKEN)",
    "CallCost": "CallCost(quoted='6.75', charged='6.75')",
    "CallEnded": (
        "CallEnded(0, VoiceCallInput(objective='Ask when they close.',"
        " target_number='+14155550134'), VoiceCallResult(call_status='completed'))"
    ),
    "CallJournal": "CallJournal('memory')",
    "CallKey": "CallKey('order-42', answers_for=600)",
    "CallPolicy": "CallPolicy(max_cost_per_call=9)",
    "CallProgress": "CallProgress(stage='quoted', call_key='key', numbers=['+1415*****34'])",
    "CallRefusedError": "CallRefusedError('The policy says no.', code='policy_refused')",
    "CallUnknownError": "CallUnknownError('The answer was lost.', request_id='call_1')",
    "ConfigurationError": "ConfigurationError('There is no credential.')",
    "InvalidCallError": "InvalidCallError('The number is too short.', details={'number': '1'})",
    "PaymentRefusedError": "PaymentRefusedError('The balance is short.', charged='no')",
    "PaymentTermsError": "PaymentTermsError('The price is not the one quoted.')",
    "Sandbox": "Sandbox(call_seconds=0.05)",
    "ServiceUnavailableError": "ServiceUnavailableError('It is down.', safe_to_retry=True)",
    "Timing": "Timing(lease=30)",
    "TranscriptTurn": "TranscriptTurn(speaker='callee', text='Hello?')",
    "VoiceCallError": "VoiceCallError('It did not happen.', advice='Try another number.')",
    "VoiceCallInput": (
        "VoiceCallInput(objective='Ask when they close.', target_number='+14155550134')"
    ),
    "VoiceCallQuote": "VoiceCallQuote(quote_id='quote_1', total='6.75')",
    "VoiceCallResult": (
        "VoiceCallResult(call_status='completed', cost=CallCost(charged='6.75'),"
        " transcript=[TranscriptTurn(speaker='callee', text='Hello?')],"
        " quote=VoiceCallQuote(quote_id='quote_1', total='6.75'))"
    ),
    "VoiceCallTool": "VoiceCallTool(private_key=KEY, policy=CallPolicy(), journal='memory')",
    "VoiceCaller": (
        "VoiceCaller(WalletKey(KEY), policy=CallPolicy(), journal=CallJournal('memory'),"
        " timing=Timing())"
    ),
    "WalletKey": "WalletKey(KEY)",
    "calls_frame": "calls_frame(CallJournal('memory'), days=30)",
}
"""How a program builds each; it knows the public names, `KEY` and `TOKEN`."""


@pytest.mark.parametrize("name", langchain_oneshot_voice.__all__)
def test_public_name_is_built_from_public_names(name: str) -> None:
    """A class is constructed, and a function called, with nothing but what can be imported."""
    if name not in RECIPES:
        pytest.fail(f"{name} is public and has no recipe: add to RECIPES how a program builds it")
    public = {
        known: getattr(langchain_oneshot_voice, known) for known in langchain_oneshot_voice.__all__
    }
    built = eval(RECIPES[name], {"KEY": KEY, "TOKEN": TOKEN, **public})  # noqa: S307 - a recipe from above
    assert not isinstance(public[name], type) or isinstance(built, public[name])


def test_no_recipe_is_left_over() -> None:
    """A name that is no longer public needs none."""
    assert set(RECIPES) - set(langchain_oneshot_voice.__all__) == set()
