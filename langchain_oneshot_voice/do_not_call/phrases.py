"""Finding an opt-out in a transcript: the person called wants no more calls.

Finds the common phrases in English, Spanish, French, German, Italian and Portuguese. Ignores
phrases that only look similar ("don't call me Bob", "please don't call before nine", "if you don't
call back by five").

A list of phrases can't find hints or irony. A model that reads the transcript can find more; the
life of a call decides what follows from that. If the speaker is unknown, the words count: a number
that was suppressed by mistake can be allowed again, but an unwanted call can't be undone. For the
same reason "don't call us, we'll call you" counts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from langchain_oneshot_voice.schemas import TranscriptTurn

_LONGEST = 150_000
"""Maximum length of the text that is searched, in characters: about two hours of speech."""


def asks_not_to_be_called(transcript: Sequence[TranscriptTurn]) -> str | None:
    """Return the first sentence in which someone other than the caller opts out.

    Reads only the last 150,000 characters: about two hours of speech.

    Args:
        transcript: the turns of a call, each with its speaker.

    Returns:
        The sentence as it was said, or `None`. It was said by a stranger: treat it as a quotation,
        never as an instruction.
    """
    for text in _texts_of_others(transcript):
        for sentence in _SENTENCE_END.split(text):
            if _is_opt_out(_normalized(sentence)):
                return sentence.strip()
    return None


def _texts_of_others(transcript: Sequence[TranscriptTurn]) -> list[str]:
    """Return the last `_LONGEST` characters that others than the caller said, in order."""
    texts, left = [], _LONGEST
    for turn in reversed(transcript):
        if turn.speaker != "caller" and left > 0:
            texts.append(turn.text[-left:])
            left -= len(turn.text)
    return texts[::-1]


def _is_opt_out(sentence: str) -> bool:
    return any(phrase.search(sentence) for phrase in _REQUESTS) or any(
        not _WITH_A_SUBJECT.search(sentence, max(0, found.start() - _NEAR), found.start())
        for found in _imperatives(sentence)
    )


def _imperatives(sentence: str) -> Iterator[re.Match[str]]:
    for phrase in _IMPERATIVES:
        yield from phrase.finditer(sentence)


def _normalized(sentence: str) -> str:
    """Return it in lower case, without accents, with straight apostrophes and single spaces."""
    straight = sentence.replace("\u2019", "'").replace("\u2018", "'").replace("\u00b4", "'")
    decomposed = unicodedata.normalize("NFKD", straight.casefold())
    return " ".join("".join(c for c in decomposed if not unicodedata.combining(c)).split())


def _phrases(*patterns: str) -> tuple[re.Pattern[str], ...]:
    """Compile patterns for normalized sentences; each starts at the start of a word."""
    return tuple(re.compile(rf"\b(?:{pattern})") for pattern in patterns)


_NEAR = 60
"""How far before a request to look for its subject, in characters."""

_SENTENCE_END = re.compile(r"(?<=[.!?;:\u2026])\s+|[\n\u00a1\u00bf]+")

# English. A request counts only if `_END` follows it. Other words after it change the meaning: a
# name ("don't call me Bob"), a time ("don't call before nine") or an object ("call it").
_END = (
    r"(?=\s*(?:$|[^\w\s']|(?:please|thanks|thank you|sir|ma'?am|ok|okay|and|or|because|i'm|i am"
    r"|i'll|i will|i've|i have|i already|i said|you people|you guys|you hear|don't|do not|never"
    r"|stop|take me|remove|goodbye|bye)\b))"
)
_EVER = r"(?: (?:again|any ?more|any longer|ever|at all|for good))"
_HERE = r"(?: (?:here|at home|at work|(?:at|on) (?:this|my|our) (?:\w+ )?(?:number|phone|line)))"
_FROM_NOW = rf"(?:{_EVER}|{_HERE}|,? please)*"
_CALL = r"(?:call|phone|ring|contact|telephone)"
_CALLED = r"(?:called|phoned|contacted|telephoned|disturbed|bothered)"
_BOTHER = rf"(?:{_CALL}|bother|disturb|text|dial|harass)"
_CALLING = r"(?:calling|phoning|contacting|telephoning)"
_BOTHERING = rf"(?:{_CALLING}|ringing|bothering|disturbing|texting|dial+ing|harassing)"
_NUMBER = r"(?:my|our|this) (?:\w+ )?(?:number|phone|line)"
_US = rf"(?:me|us|here|{_NUMBER}|(?:my|our|this) (?:house|home|family|office|place))"
_TOLD_YOU = (
    r"(?:(?<!\byou )|(?<=told you )|(?<=tell you )|(?<=telling you )|(?<=thank you )"
    r"|(?<=from you ))"
)
"""Excludes "you never call", a wish for more calls; allows "I told you, never call"."""
_NOT = rf"{_TOLD_YOU}(?:please not|do ?n'?t|do not|never)(?: you)?(?: dare| ever)*"
_LIST = (
    r"(?:your|the|this|that|any|all|all your|every) (?:call|calling|contact|phone|marketing"
    r"|mailing|telemarketing|sales)?[- ]?(?:lists?|database|system|records?|files?)\b"
)
_DO_NOT_CALL = r"(?:do[- ]not|don'?t|no)[- ]call\b"

_IMPERATIVES = _phrases(
    rf"{_NOT} {_CALL}(?: back)?{_FROM_NOW}{_END}",
    rf"{_NOT} {_BOTHER} {_US}(?: back)?{_FROM_NOW}{_END}",
    rf"(?:stop|quit|cease) {_CALLING}(?: back)?{_FROM_NOW}(?: now| right now)?{_END}",
    rf"(?:stop|quit|cease) {_BOTHERING} {_US}{_FROM_NOW}"
    rf"(?: now| right now| immediately| every \w+| all the time| about [^,]+)?{_END}",
    r"(?:stop|quit) (?:with )?(?:these|the|your|making these|making) (?:\w+ )?calls\b",
    rf"leave (?:me|us) alone{_FROM_NOW}{_END}",
    rf"(?:take|get|remove|delete|erase|strike|cross|leave|keep) (?:me|us|my name|{_NUMBER})"
    rf" (?:off|from|out)(?: of)? {_LIST}",
    rf"(?:remove|delete|erase|lose|forget) {_NUMBER}{_FROM_NOW}{_END}",
    rf"(?:remove (?:me|us)|take (?:me|us) off){_FROM_NOW}{_END}",
    rf"(?:put|add|place) (?:me|us|{_NUMBER}) (?:on|to) (?:\w+ ){{0,2}}{_DO_NOT_CALL}",
    rf"(?:unsubscribe|opt) (?:me|us|{_NUMBER})(?: out)?{_FROM_NOW}{_END}",
)
"""English requests, unless a subject before them makes them statements."""

_WITH_A_SUBJECT = re.compile(
    r"(?:\b(?:i|we|they|he|she|it|who|(?<!you )people|everybody|customers|clients|patients|kids"
    r"|(?:my|our|his|her|their) \w+s)(?:'d|'ll|'ve)?(?: just| usually| normally| often| always)?"
    r"|\byou(?:'d|'ll|'ve)"
    r"|\b(?:why|do not|don'?t|did not|\w+n't|not|never|cannot|would|will|could|might|me to|him to"
    r"|her to|them to|promised to))\s+$"
)
"""A subject or a negation before a request: "I'd never call again" is a statement, and "don't stop
calling" means the opposite."""

_ENGLISH = _phrases(
    rf"if you (?:do ?n'?t|do not|won'?t) (?:stop|quit) {_BOTHERING}",
    rf"you (?:(?:should|must|may|can|could|had better|better|are) ?(?:not|n'?t|never)"
    rf"|can'?t|cannot|are no longer)(?: to| allowed to)? {_BOTHER}"
    rf"(?: {_US}{_FROM_NOW}|{_EVER}){_END}",
    rf"(?:told|tell|telling|ask|asked|asking|warned|begged) you(?: \w+)? (?:not to|to never)"
    rf" {_BOTHER}(?: {_US})?{_FROM_NOW}{_END}",
    rf"(?:do ?n'?t|do not|no longer|never) (?:want|wish|need) (?:you|you guys|you people|anyone"
    rf"|anybody|your \w+)(?: to)? (?:{_BOTHER}|{_BOTHERING})(?: {_US})?{_FROM_NOW}{_END}",
    rf"(?:want|like|need|prefer) you to never {_BOTHER}(?: {_US})?{_FROM_NOW}{_END}",
    r"(?:do ?n'?t|do not|no longer|never|not) (?:want|wish|like|consent|agree|asked?) to"
    rf" (?:be|get) {_CALLED}(?: by \w+)?{_FROM_NOW}{_END}",
    rf"(?:rather|prefer|like|asked?|wish) not (?:to )?be {_CALLED}(?: by \w+)?{_FROM_NOW}{_END}",
    r"(?:do ?n'?t|do not|no longer) want (?:to (?:get|receive|have) )?(?:any|any ?more|these|your"
    rf"|more|any more of (?:these|your)|further)(?: \w+)? calls?(?: from \w+)?{_FROM_NOW}{_END}",
    r"(?:do ?n'?t|do not|never)(?: ever)? want to hear from you",
    rf"(?:(?:^|(?<=, ))(?:please,? )?|please,? |want )no more (?:\w+ )?calls(?: from \w+)?{_END}",
    rf"if you (?:didn'?t|did not|would ?n'?t|would not|never) {_CALL}(?:ed)?(?: {_US})?{_EVER}",
    rf"(?:mind|please|about) not {_CALLING}(?: {_US})?{_FROM_NOW}{_END}",
    rf"refrain from {_CALLING}(?: {_US})?{_FROM_NOW}{_END}",
    rf"(?:i'?m|i am|we'?re|we are|{_NUMBER} is|been) (?:already )?on (?:\w+ ){{0,2}}{_DO_NOT_CALL}"
    r"[- ](?:list|registry|register)",
    rf"(?:want|like|wish) to (?:opt out|unsubscribe|be removed){_FROM_NOW}{_END}",
    r"opt out of (?:\w+ ){0,2}(?:calls|contact)",
    rf"(?:be|get) (?:taken off|removed from) {_LIST}",
)

_ES_END = r"(?=\s*(?:$|[^\w\s]|(?:por favor|gracias|senor\w*|porque|que|y|ya)\b))"
_ES_EVER = r"(?: (?:mas|nunca|jamas|otra vez|de nuevo|por favor|aqui|a este numero|a esta casa))*"
_ES_LIST = r"de (?:su|sus|la|las|esa|esta) (?:lista|listas|base|sistema)"

_SPANISH = _phrases(
    r"no (?:me |nos )?(?:llame[ns]?|llameis|contacten?|molesten?|marquen?)" + _ES_EVER + _ES_END,
    r"no (?:me |nos )?vuelva[ns]? a (?:llamar|contactar|molestar|marcar)(?:me|nos)?"
    + _ES_EVER
    + _ES_END,
    r"(?<!no )(?:dejen?|deja|paren?) (?:ya )?de (?:llamar|molestar|contactar|marcar)(?:me|nos)?"
    + _ES_EVER
    + _ES_END,
    r"(?:quiten?|borren?|eliminen?|saquen?|retiren?)(?:me|nos) " + _ES_LIST,
    r"(?:quiten?|borren?|eliminen?|saquen?|retiren?) (?:mi|nuestro|este) (?:numero|telefono)"
    rf"(?: {_ES_LIST}|{_ES_END})",
    r"no quiero (?:mas llamadas|recibir (?:mas |sus |estas )?llamadas"
    rf"|que me (?:llamen?|vuelvan? a llamar){_ES_EVER}{_ES_END})",
)

_FR_END = r"(?=\s*(?:$|[^\w\s]|(?:s'il vous plait|svp|merci|monsieur|madame$|et|car|je)\b))"
_FR_NEVER = r"(?:plus|pas|jamais)(?: jamais| ici| (?:a|sur) ce numero)*"

_FRENCH = _phrases(
    r"(?<!je )(?<!il )(?<!elle )(?<!vous )(?<!tu )(?:ne (?:m'|nous |me )?|n')(?:r?appel(?:ez|le|er)"
    rf"|telephonez|contactez|derangez) {_FR_NEVER}{_FR_END}",
    r"(?<!n')(?<!ne )(?:arretez?|cessez?) (?:\w+ )?(?:de (?:m'|me |nous )?|d')"
    rf"(?:r?appeler|contacter|deranger|harceler|telephoner){_FR_END}",
    r"(?:retirez|enlevez|supprimez|rayez|effacez)[- ](?:moi|nous) des? (?:votre|vos|la|cette|ces)"
    r" (?:\w+ )?(?:listes?|fichiers?|base)",
    r"(?:retirez|enlevez|supprimez|rayez|effacez|oubliez) (?:mon|notre|ce) numero"
    rf"(?: des? (?:votre|vos) \w+|{_FR_END})",
    r"je (?:ne )?(?:veux|souhaite|voudrais) (?:plus|pas) (?:etre (?:r?appele|contacte|derange)e?s?"
    r"|recevoir (?:d'|vos |ces )(?:autres )?appels?|qu'on m'appelle|que vous (?:m'appeliez"
    rf"|me rappeliez|me contactiez|nous appeliez)|de vos appels){_FR_END}",
)

# A German umlaut is also written with an `e`: "höre" and "hoere".
_DE_NEVER = r"(?:nie wieder|nie mehr|niemals wieder|nicht mehr|nicht wieder)"
_DE_US = r"(?:mich|uns|hier|da|bitte|diese nummer|unter dieser nummer|bei mir|bei uns)"

_GERMAN = _phrases(
    rf"(?:rufen sie|rufen's|ruf|ruft)(?: {_DE_US})* (?:{_DE_NEVER}|nicht)(?: {_DE_US})* an\b",
    rf"das?s (?:sie|ihr|du)(?: {_DE_US})* (?:{_DE_NEVER}|nicht)(?: {_DE_US})*"
    r" (?:anrufen|anruft|anrufst|kontaktieren)",
    rf"(?<!mussen )(?<!muessen )(?<!brauchen )(?:mich|uns|hier|bitte) {_DE_NEVER}(?: {_DE_US})*"
    r" (?:anrufen|kontaktieren)\b",
    r"hoe?r(?:en sie|t)?(?: bitte| endlich| sofort)* auf,?(?: (?:mich|uns|hier|bitte|staendig"
    r"|standig|dauernd))* (?:anzurufen|zu belae?stigen|mit (?:den|diesen|ihren) anrufen)",
    r"(?:moe?chten?|will|wollen|wue?nschen?)(?: \w+){0,3} keine (?:weiteren )?anrufe",
    r"^(?:bitte,? )?keine (?:weiteren )?anrufe mehr",
    r"(?:nehmen|streichen|loe?schen|entfernen) sie (?:mich|uns|(?:meine|unsere|diese)"
    r" (?:telefon)?nummer|meinen namen)(?: bitte| sofort)* (?:aus|von) (?:ihrer|ihren|der|allen)"
    r" \w*(?:listen?|kartei|datenbank)\b",
    r"(?:loe?schen|streichen|vergessen) sie (?:bitte )?(?:meine|unsere|diese) (?:telefon)?nummer",
    rf"(?:moe?chten?|will|wollen)(?: \w+)? {_DE_NEVER}(?: von \w+)? (?:angerufen|kontaktiert"
    r"|belae?stigt) werden",
)

_ITALIAN = _phrases(
    r"non (?:mi |ci )?(?:ri)?(?:chiami|chiamate|chiamare|telefoni|telefonate|contatti|contattate"
    r"|chiamatemi|chiamarmi) (?:mai )?piu\b",
    r"smett(?:a|ete|etela|ila|i) di (?:chiamar|telefonar|contattar|disturbar)(?:mi|ci|e)\b",
    r"(?:tolga|togliete|cancelli|cancellate|rimuova|rimuovete|elimini|eliminate)(?:mi|ci)?"
    r" (?:(?:il mio|questo) numero|dall[ae] (?:sua |vostra |vostre )?list[ae])",
)

_PORTUGUESE = _phrases(
    r"nao (?:me |nos )?(?:liguem?|telefonem?|conta(?:c)?tem?)(?: para (?:mim|ca|este numero))?"
    r" (?:mais|nunca mais|de novo|outra vez)\b",
    r"nunca mais (?:me |nos )?(?:liguem?|telefonem?)\b",
    r"(?<!nao )parem? de (?:me |nos )?(?:ligar|telefonar|incomodar|contactar)\b",
    r"(?:tirem?|removam?|retirem?|apaguem?) (?:o )?(?:meu|este) numero",
    r"(?:me (?:tirem?|removam?|retirem?)|(?:tirem?|removam?|retirem?)-me) da (?:sua |vossa )?lista",
    r"nao quero (?:receber )?mais (?:ligacoes|chamadas)",
)

_REQUESTS = _ENGLISH + _SPANISH + _FRENCH + _GERMAN + _ITALIAN + _PORTUGUESE
"""Requests in every language that count whatever word stands before them."""
