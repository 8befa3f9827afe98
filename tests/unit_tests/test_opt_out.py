"""Hearing that somebody wants no more calls, and not hearing it where it was not said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_oneshot_voice.do_not_call.phrases import asks_not_to_be_called
from langchain_oneshot_voice.schemas import TranscriptTurn

REQUESTS = [
    # English
    "Don't call me again.",
    "Do not call me again!",
    "Please don\u2019t call again",
    "please do not ever call this number again",
    "Don't call.",
    "Don't call me.",
    "Don't call us, we'll call you.",
    "don't ever call here again",
    "Never call me again",
    "Don't you dare call me again!",
    "I said don't call me any more",
    "I told you, do not call this number.",
    "I told you don't call me again",
    "I'm not interested don't call me again",
    "thank you don't call me again please",
    "don't call me again don't call me again goodbye",
    "Don't phone us anymore, please",
    "do not contact me again",
    "Don't bother us again.",
    "Stop calling.",
    "Stop calling me!",
    "please stop calling me every day",
    "You need to stop calling this number.",
    "I want you to stop calling me",
    "Quit calling here",
    "Stop harassing me.",
    "If you don't stop calling me I'll report you.",
    "Will you people stop calling us?",
    "stop these calls",
    "Take me off your list.",
    "Could you take my number off your calling list?",
    "take us off the list please",
    "Please remove me from your database",
    "Remove my number.",
    "Remove this number from your records.",
    "delete my phone number please",
    "Lose my number.",
    "Put me on your do not call list.",
    "add this number to the do-not-call list",
    "We're on the national do not call registry.",
    "I don't want you to call me again.",
    "I do not want you calling here anymore",
    "I don't want to be called again",
    "I would prefer not to be contacted.",
    "I don't want any more calls.",
    "I don't want these calls",
    "I don't want to hear from you again.",
    "No more calls, please.",
    "I asked you not to call me.",
    "I told you people not to call this number again",
    "You can't call me anymore.",
    "You should not call here.",
    "I'd appreciate it if you didn't call me again",
    "Would you mind not calling us?",
    "Leave me alone.",
    "Unsubscribe me.",
    "I want to opt out of these calls",
    "I'd like to be removed from your list",
    # Spanish
    "No me llame más.",
    "No me llamen nunca más, por favor",
    "Por favor no llame más a este número",
    "No vuelva a llamarme.",
    "No me vuelvan a llamar",
    "Deje de llamarme.",
    "Quíteme de su lista.",
    "¡Borre mi número!",
    "No quiero recibir más llamadas.",
    "No quiero que me llamen.",
    # French
    "Ne m'appelez plus.",
    "Ne m\u2019appelez plus jamais !",
    "Ne me rappelez pas.",
    "N'appelez plus ici.",
    "Arrêtez de m'appeler.",
    "Cessez de nous appeler, s'il vous plaît",
    "Retirez-moi de votre liste.",
    "Supprimez mon numéro.",
    "Je ne veux plus être appelé.",
    "Je ne veux pas que vous m'appeliez",
    # German
    "Rufen Sie mich nicht mehr an.",
    "Rufen Sie hier bitte nie wieder an!",
    "Ruf mich nicht mehr an",
    "Bitte nicht mehr anrufen.",
    "Ich will, dass Sie mich nicht mehr anrufen",
    "Hören Sie auf, mich anzurufen!",
    "Ich möchte keine Anrufe mehr bekommen.",
    "Nehmen Sie mich von Ihrer Liste.",
    "Löschen Sie meine Nummer",
    "Ich moechte nicht mehr angerufen werden.",
    # Italian, Portuguese
    "Non mi chiami più.",
    "Non chiamate mai più",
    "La smetta di chiamarmi!",
    "Cancelli il mio numero",
    "Não me ligue mais.",
    "Pare de me ligar!",
    "Por favor, me tire da sua lista",
    "Não quero receber mais ligações.",
]

NO_REQUESTS = [
    # English
    "Don't call me Bob.",
    "Don't call me Mister, it's Doctor.",
    "Stop calling me Susan, my name is Ann.",
    "Please don't call before 9.",
    "please don't call before nine in the morning",
    "Don't call me again until Tuesday.",
    "Don't call me after eight.",
    "don't call me today, I'm busy",
    "Don't call me tomorrow, call on Monday.",
    "Please don't call on Sundays.",
    "Call me again tomorrow.",
    "You can call me again any time.",
    "If you don't call back by five, we give the table away.",
    "If we don't call you back, the appointment stands.",
    "If you don't call again, I'll assume that it's fine.",
    "I'd never call again to complain.",
    "I never call back.",
    "They don't call back.",
    "My kids never call me anymore.",
    "You never call me anymore!",
    "You don't have to call me again.",
    "You don't need to call back.",
    "You need not call me again.",
    "No need to call again.",
    "Why don't you call me again?",
    "You didn't call me back.",
    "I don't call here often.",
    "Don't call it a day yet.",
    "Don't call the police.",
    "Do not call an ambulance.",
    "Don't bother.",
    "Don't stop calling, somebody will pick up.",
    "The customers won't stop calling.",
    "He never stopped calling me.",
    "We stop calling at six.",
    "I can't stop calling her.",
    "I'll stop calling now.",
    "Do you want me to stop calling?",
    "Is this number on the do not call list?",
    "Can you remove my number from the reservation and put my wife's?",
    "Take me off hold.",
    "Take me off the waiting list, please.",
    "Remove the onions.",
    "I don't want to be called Bob.",
    "I don't want to be called before noon.",
    "I don't want you to call me Bob.",
    "There are no more calls in the queue.",
    "We had no more calls after that.",
    "I asked my sister not to call me at lunch.",
    "Leave me a message.",
    "You can opt out of the breakfast.",
    "Press nine to hear this menu again.",
    "You should call me again on Friday.",
    "You are to call before noon.",
    "Could you call us back? We can't hear you.",
    # Spanish
    "No me llames Juan.",
    "No me llamo Juan.",
    "No me llame antes de las nueve.",
    "Llámeme otra vez mañana.",
    "No deje de llamarme.",
    "Quite mi número de la reserva.",
    # French
    "Ne m'appelez pas Pierre.",
    "Ne m'appelez pas avant 9 heures.",
    "Je ne m'appelle pas Pierre.",
    "Je ne m'appelle plus Durand.",
    "Rappelez-moi demain.",
    "Vous n'arrêtez pas de m'appeler.",
    # German
    "Rufen Sie mich nicht vor neun an.",
    "Rufen Sie mich morgen wieder an.",
    "Rufen Sie mich heute nicht mehr an.",
    "Sie müssen mich nicht mehr anrufen.",
    "Ich bekomme keine Anrufe.",
    # Italian, Portuguese
    "Mi chiami più tardi.",
    "Me ligue mais tarde.",
    "Não pare de me ligar.",
]


def said(text: str, speaker: str = "callee") -> str | None:
    """What is found when one person says one thing."""
    return asks_not_to_be_called([TranscriptTurn(speaker=speaker, text=text)])


@pytest.mark.parametrize("text", REQUESTS)
def test_request_for_no_more_calls_is_heard(text: str) -> None:
    """What people say who want no more calls is found, in six languages."""
    assert said(text)


@pytest.mark.parametrize("text", NO_REQUESTS)
def test_what_sounds_alike_is_no_request(text: str) -> None:
    """A name, a time, a condition or somebody else's calls are no wish for no more calls."""
    assert said(text) is None


def test_the_sentence_is_handed_back_as_it_was_said() -> None:
    """What is returned is the one sentence that asks, with its capitals, accents and marks."""
    text = "Hello? No, thanks. Please don\u2019t call me again! Goodbye."
    assert said(text) == "Please don\u2019t call me again!"


def test_the_callers_own_words_never_count() -> None:
    """What our side of the call says asks for nothing."""
    assert said("Don't call me again.", speaker="caller") is None


@pytest.mark.parametrize("speaker", ["callee", "callee 2", "unknown"])
def test_anybody_but_the_caller_can_ask(speaker: str) -> None:
    """Each person in a conference is heard, and so is a speaker nobody labelled."""
    assert said("Take me off your list.", speaker=speaker) == "Take me off your list."


def test_the_first_request_of_a_call_is_found() -> None:
    """Every turn is read, in order."""
    turns = [
        TranscriptTurn(speaker="caller", text="May I call you again tomorrow?"),
        TranscriptTurn(speaker="callee", text="Who is this?"),
        TranscriptTurn(speaker="callee", text="Stop calling me."),
        TranscriptTurn(speaker="callee", text="I said, don't call again."),
    ]
    assert asks_not_to_be_called(turns) == "Stop calling me."


def test_an_empty_call_asks_for_nothing() -> None:
    """No transcript, no request."""
    assert asks_not_to_be_called([]) is None


@given(st.text(max_size=200), st.sampled_from(["callee", "unknown"]))
def test_no_speech_makes_the_reading_fail(text: str, speaker: str) -> None:
    """Whatever was said, what is found is a part of it."""
    found = said(text, speaker)
    assert found is None or found in text


@given(st.sampled_from(REQUESTS), st.booleans(), st.sampled_from(["", "  ", "\n"]))
def test_capitals_and_spaces_change_nothing(request: str, loud: bool, space: str) -> None:
    """A request is heard in capitals and with stray spaces, too."""
    assert said(space + (request.upper() if loud else request) + space)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("piece", ["don't call me bob ", "me here please ", "no me llame mas "])
def test_a_very_long_sentence_is_read_in_time(piece: str) -> None:
    """A stranger's speech of 100,000 characters without a full stop can't hold a call up."""
    assert said(piece * (100_000 // len(piece)) + "until noon") is None
