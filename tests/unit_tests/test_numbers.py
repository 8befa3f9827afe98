"""Reading a number: one spelling comes out, and nothing that is refused comes through."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import PhoneMetadata

from langchain_oneshot_voice.policy.numbers import (
    _LONGEST_EMERGENCY,
    REGIONS,
    NumberRefusedError,
    read_number,
    read_prefix,
)
from langchain_oneshot_voice.schemas import VoiceCallInput

NEVER = [
    "+19005550100",
    "+19115550100",
    "+1911",
    "+44999",
    "+49112",
    "+61000",
    "+449098790000",
    "+449012345678",
    "+33891123456",
    "+81990123456",
    "+611900123456",
    "+431234",
    "+15005550100",
    "+882161234567",
    "+999123456789",
]
"""In E.164: emergency, premium-rate, of no country, and invalid."""

SIGNS = st.text(alphabet=" .-()/\u00a0\u2011\u2013\u2212", max_size=3)


@st.composite
def respelled(draw: st.DrawFn, numbers: list[str]) -> str:
    """A number with spaces, dashes and brackets anywhere, and perhaps a trunk zero."""
    number = draw(st.sampled_from(numbers))
    code = next(c for c in ("+1", "+44", "+49", "+61", "+33", "+81", "+43", number) if c in number)
    trunk = draw(st.sampled_from(["", "(0)", "0"])) if code != number else ""
    digits = number[: len(code)] + trunk + number[len(code) :]
    return "".join(draw(SIGNS) + sign for sign in digits) + draw(SIGNS)


@given(respelled(NEVER))
def test_no_refused_number_passes_by_respelling(spelled: str) -> None:
    """However a number that is never called is spaced or bracketed, it is refused."""
    with pytest.raises(NumberRefusedError):
        read_number(spelled)


@given(respelled(NEVER), st.sampled_from(["US", "GB", "DE", "AU", "IN", "BR"]))
def test_no_refused_number_passes_by_dialling_abroad(spelled: str, region: str) -> None:
    """A default region opens no way round, with a plus or with the region's own way abroad."""
    abroad = {"US": "011", "AU": "0011"}.get(region, "00")
    for written in (spelled, spelled.replace("+", abroad)):
        with pytest.raises(NumberRefusedError):
            read_number(written, default_region=region)


@given(respelled(["+14155550100", "+442079460958", "+493012345678", "+61412345678"]))
def test_every_spelling_comes_to_the_same_number(spelled: str) -> None:
    """What comes out is one of the numbers that went in, and reading it again changes nothing."""
    try:
        number = read_number(spelled)
    except NumberRefusedError:
        assert "0" in spelled  # a trunk zero where the country has none
    else:
        assert read_number(number.e164) == number
        assert number.e164 in {"+14155550100", "+442079460958", "+493012345678", "+61412345678"}


@given(st.text(max_size=30), st.sampled_from([None, "US", "IT", "IN"]))
def test_reading_ends_in_e164_or_a_refusal(spelled: str, region: str | None) -> None:
    """Nothing else is raised, whatever is written."""
    try:
        number = read_number(spelled, default_region=region)
    except NumberRefusedError:
        return
    assert read_number(number.e164) == number


@pytest.mark.parametrize(
    ("spelled", "region", "zones"),
    [
        ("+14155550100", "US", ("America/Los_Angeles",)),
        ("+12125550123", "US", ("America/New_York",)),
        ("+18765550100", "JM", ("America/Jamaica",)),
        ("+442079460958", "GB", ("Europe/London",)),
        ("+977 984-1234567", "NP", ("Asia/Katmandu",)),
    ],
)
def test_number_says_where_it_is(spelled: str, region: str, zones: tuple[str, ...]) -> None:
    """A number has its country, and the zones of its area code."""
    number = read_number(spelled)
    assert (number.region, number.time_zones) == (region, zones)


@pytest.mark.parametrize(
    ("spelled", "among"),
    [
        ("+61412345678", {"Australia/Perth", "Australia/Adelaide", "Australia/Sydney"}),
        ("+18005550199", {"America/New_York", "America/Los_Angeles", "Pacific/Honolulu"}),
        ("+79123456789", {"Europe/Moscow", "Asia/Yekaterinburg", "Asia/Kamchatka"}),
    ],
)
def test_number_without_a_place_may_be_in_any_zone(spelled: str, among: set[str]) -> None:
    """A mobile or toll-free number may ring anywhere in its country."""
    assert among <= set(read_number(spelled).time_zones)


def test_no_number_is_written_out_where_it_could_be_logged() -> None:
    """Neither the repr of a number nor the words of a refusal hold all of it."""
    with pytest.raises(NumberRefusedError) as refused:
        read_number("+19005550100")
    assert "9005550100" not in repr(refused.value) + str(refused.value)
    assert "4155550100" not in repr(read_number("+14155550100"))


@pytest.mark.parametrize(
    ("entry", "prefix"),
    [
        ("+1415", "+1415"),
        ("+1 (415)", "+1415"),
        ("+44", "+44"),
        ("+1 415 555 0100", "+14155550100"),
        ("+440207 946 0958", "+442079460958"),
    ],
)
def test_entry_of_a_list_is_a_number_or_a_start(entry: str, prefix: str) -> None:
    """A whole number gets its one spelling; the start of one keeps its digits."""
    assert read_prefix(entry) == prefix


@pytest.mark.parametrize("entry", ["", "+", "415", "+0415", "1415", "+1415x", "+44 (0)20", "*"])
def test_entry_that_could_match_nothing_is_refused(entry: str) -> None:
    """A list with an entry that no number starts with would protect nobody."""
    with pytest.raises(ValueError, match="such as \\+1415"):
        read_prefix(entry)


def test_package_imports_without_phonenumbers() -> None:
    """The numbering plans of the world are loaded when a call is checked, not before."""
    program = (
        "import sys, langchain_oneshot_voice as p; p.CallPolicy();"
        " sys.exit('phonenumbers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0  # noqa: S603 - our own words


@pytest.mark.parametrize(
    "spelled", ["+1 212 976 1234", "+1 (415) 555-1212", "+1/809/976/0000", "+14165551212"]
)
def test_a_north_american_number_that_charges_its_callers_is_refused(spelled: str) -> None:
    """Pay-per-call exchanges and directory assistance, in every area."""
    with pytest.raises(NumberRefusedError) as refused:
        read_number(spelled)
    assert refused.value.code == "premium_rate_number"


@pytest.mark.parametrize("spelled", ["+1 415 555 0121", "+44 20 7976 1234"])
def test_a_number_that_only_resembles_one_may_be_called(spelled: str) -> None:
    """The exchange and the whole number count, and only in North America."""
    assert read_number(spelled).e164


@pytest.mark.parametrize(
    "spelled", ["+1/415/5550100", "+1 415\u2212555\u22120100", "+1.415.555.0100"]
)
def test_what_the_schema_takes_and_the_policy_reads_are_the_same_spellings(spelled: str) -> None:
    """A number that one of them reads, the other reads, too."""
    asked = VoiceCallInput(objective="Ask for the hours.", target_number=spelled)
    assert asked.numbers == (read_number(spelled).e164,) == ("+14155550100",)


def test_no_country_s_emergency_number_is_longer_than_what_is_compared() -> None:
    """A number that is longer is not compared with them: that would be most of the work."""
    for region in REGIONS:
        metadata = PhoneMetadata.short_metadata_for_region(region)
        if metadata is not None and metadata.emergency is not None:
            assert max(metadata.emergency.possible_length) <= _LONGEST_EMERGENCY, region
