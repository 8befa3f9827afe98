"""What becomes of numbers of many countries, each as somebody might write it."""

from __future__ import annotations

from typing import get_args

import phonenumbers
import pytest

from langchain_oneshot_voice.policy.numbers import NumberKind, NumberRefusedError, read_number

NUMBERS: list[tuple[str, str | None, str]] = [
    # What is written, the region that national numbers are read for, and the verdict: the kind of
    # a number that may be called, or why it may not. Nobody is called: these are the specimens of
    # the countries' numbering plans, and fictional numbers.
    # United States
    ("+1 415 555 0100", None, "fixed_line_or_mobile"),
    ("+1 212 555 0123", None, "fixed_line_or_mobile"),
    ("(415) 555-0100", "US", "fixed_line_or_mobile"),
    ("415.555.0100", "US", "fixed_line_or_mobile"),
    ("1-415-555-0100", "US", "fixed_line_or_mobile"),
    ("+14155551234", None, "fixed_line_or_mobile"),
    ("+14155555678", None, "fixed_line_or_mobile"),
    ("+1 800 555 0199", None, "toll_free"),
    ("+1 900 555 0100", None, "premium_rate_number"),
    ("1 900 555 0100", "US", "premium_rate_number"),
    ("+1 (1) 900 555 0100", None, "premium_rate_number"),
    ("+1 500 555 0100", None, "unsupported_number"),
    ("911", None, "emergency_number"),
    ("911", "US", "emergency_number"),
    ("9-1-1", "US", "emergency_number"),
    ("+1 911", None, "emergency_number"),
    ("+1911", None, "emergency_number"),
    ("+1 911 555 0100", None, "emergency_number"),
    ("112", "US", "emergency_number"),
    ("411", "US", "short_number"),
    ("+1 411", None, "short_number"),
    ("988", "US", "short_number"),
    ("+1 415 555 010", None, "invalid_number"),
    ("+1 415 555 01000", None, "invalid_number"),
    ("+1 555 555 0100", None, "invalid_number"),
    ("+1 015 555 0100", None, "invalid_number"),
    ("+1 415 055 0100", None, "invalid_number"),
    ("415 555 0100", None, "invalid_number"),
    ("+1 800 FLOWERS", None, "invalid_number"),
    ("+1 415 555 0100 ext. 7", None, "invalid_number"),
    ("+1 415 555 0100,7", None, "invalid_number"),
    # Canada
    ("+1 416 555 0123", None, "fixed_line_or_mobile"),
    ("911", "CA", "emergency_number"),
    ("416-555-0123", "CA", "fixed_line_or_mobile"),
    ("+1 506-234-5678", None, "fixed_line_or_mobile"),
    # Mexico
    ("066", "MX", "emergency_number"),
    ("911", "MX", "emergency_number"),
    ("+52 1 55 1234 5678", None, "invalid_number"),
    ("+52 55 1234 5678", None, "fixed_line_or_mobile"),
    ("+52 800 123 4567", None, "toll_free"),
    ("+52 900 123 4567", None, "premium_rate_number"),
    ("+52 300 123 4567", None, "premium_rate_number"),
    # Brazil
    ("190", "BR", "emergency_number"),
    ("(11) 96123-4567", "BR", "mobile"),
    ("0 15 11 96123-4567", "BR", "mobile"),
    ("+55 11 2345-6789", None, "fixed_line"),
    ("+55 11 96123-4567", None, "mobile"),
    ("+55 800 12 3456", None, "toll_free"),
    ("+55 500 12 3456", None, "premium_rate_number"),
    ("+55 4004-1234", None, "premium_rate_number"),
    # Argentina
    ("107", "AR", "emergency_number"),
    ("011 15-2345-6789", "AR", "mobile"),
    ("+54 11 2345-6789", None, "fixed_line"),
    ("+54 9 11 2345-6789", None, "mobile"),
    ("+54 800-123-4567", None, "toll_free"),
    ("+54 600-123-4567", None, "premium_rate_number"),
    # Chile
    ("+56 2 2123 4567", None, "fixed_line_or_mobile"),
    ("+56 800 123 456", None, "toll_free"),
    ("+56 600 123 4567", None, "premium_rate_number"),
    # Colombia
    ("+57 601 2345678", None, "fixed_line"),
    ("+57 321 1234567", None, "mobile"),
    ("+57 1 800 1234567", None, "toll_free"),
    ("+57 1 900 1234567", None, "premium_rate_number"),
    # Peru
    ("+51 1 1234567", None, "fixed_line"),
    ("+51 912 345 678", None, "mobile"),
    ("+51 800 12345", None, "toll_free"),
    ("+51 805 12345", None, "premium_rate_number"),
    ("+51 801 12345", None, "premium_rate_number"),
    # Jamaica
    ("+1 876-523-0123", None, "fixed_line_or_mobile"),
    ("+1 876-210-1234", None, "mobile"),
    # United Kingdom
    ("+44 20 7946 0958", None, "fixed_line"),
    ("020 7946 0958", "GB", "fixed_line"),
    ("+44 (0)20 7946 0958", None, "fixed_line"),
    ("0044 20 7946 0958", "GB", "fixed_line"),
    ("+44 999", None, "emergency_number"),
    ("+44999", None, "emergency_number"),
    ("+44 (0) 999", None, "emergency_number"),
    ("999", "GB", "emergency_number"),
    ("112", "GB", "emergency_number"),
    ("101", "GB", "emergency_number"),
    ("118 118", "GB", "short_number"),
    ("0909 879 0000", "GB", "premium_rate_number"),
    ("+44 0909 879 0000", None, "premium_rate_number"),
    ("+44 55 1234 5678", None, "universal_access"),
    ("+44 7624 123456", None, "mobile"),
    ("+44 20 7946 095", None, "invalid_number"),
    ("+44 7700 900123", None, "invalid_number"),
    ("+44 121 234 5678", None, "fixed_line"),
    ("+44 7400 123456", None, "mobile"),
    ("+44 800 123 4567", None, "toll_free"),
    ("+44 901 234 5678", None, "premium_rate_number"),
    # Ireland
    ("999", "IE", "emergency_number"),
    ("+353 22 12345", None, "fixed_line"),
    ("+353 85 012 3456", None, "mobile"),
    ("+353 1800 123 456", None, "toll_free"),
    ("+353 1520 123 456", None, "premium_rate_number"),
    ("+353 1850 123 456", None, "premium_rate_number"),
    # France
    ("06 12 34 56 78", "FR", "mobile"),
    ("+33 (0)6 12 34 56 78", None, "mobile"),
    ("15", "FR", "emergency_number"),
    ("17", "FR", "emergency_number"),
    ("+33 112", None, "emergency_number"),
    ("3900", "FR", "short_number"),
    ("+33 1 23 45 67 89", None, "fixed_line"),
    ("+33 6 12 34 56 78", None, "mobile"),
    ("+33 801 23 45 67", None, "toll_free"),
    ("+33 891 12 34 56", None, "premium_rate_number"),
    ("+33 884 01 23 45", None, "premium_rate_number"),
    # Germany
    ("030 123456", "DE", "fixed_line"),
    ("+49 911 2345678", None, "fixed_line"),
    ("0911 2345678", "DE", "fixed_line"),
    ("110", "DE", "emergency_number"),
    ("+49 112", None, "emergency_number"),
    ("+49 (0)110", None, "emergency_number"),
    ("115", "DE", "emergency_number"),
    ("11880", "DE", "short_number"),
    ("+49 0900 1123456", None, "premium_rate_number"),
    ("+49 30 123456", None, "fixed_line"),
    ("+49 1512 3456789", None, "mobile"),
    ("+49 800 1234567890", None, "toll_free"),
    ("+49 900 1 234567", None, "premium_rate_number"),
    ("+49 180 1 2345", None, "premium_rate_number"),
    # Spain
    ("112", "ES", "emergency_number"),
    ("061", "ES", "short_number"),
    ("+34 91 123 45 67", None, "fixed_line"),
    ("+34 612 34 56 78", None, "mobile"),
    ("+34 800 123 456", None, "toll_free"),
    ("+34 803 12 34 56", None, "premium_rate_number"),
    ("+34 901 12 34 56", None, "premium_rate_number"),
    # Portugal
    ("+351 21 234 5678", None, "fixed_line"),
    ("+351 912 345 678", None, "mobile"),
    ("+351 800 123 456", None, "toll_free"),
    ("+351 760 123 456", None, "premium_rate_number"),
    ("+351 808 123 456", None, "premium_rate_number"),
    # Italy
    ("06 1234 5678", "IT", "fixed_line"),
    ("+39 06 1234 5678", None, "fixed_line"),
    ("+39 6 1234 5678", None, "invalid_number"),
    ("113", "IT", "emergency_number"),
    ("+39 118", None, "emergency_number"),
    ("+39 02 1234 5678", None, "fixed_line"),
    ("+39 312 345 6789", None, "mobile"),
    ("+39 800 123 456", None, "toll_free"),
    ("+39 899 123 456", None, "premium_rate_number"),
    ("+39 848 123 456", None, "premium_rate_number"),
    # Netherlands
    ("144", "NL", "emergency_number"),
    ("+31 10 123 4567", None, "fixed_line"),
    ("+31 6 12345678", None, "mobile"),
    ("+31 800 1234", None, "toll_free"),
    ("+31 906 1234", None, "premium_rate_number"),
    # Belgium
    ("+32 12 34 56 78", None, "fixed_line"),
    ("+32 450 00 12 34", None, "mobile"),
    ("+32 800 12 345", None, "toll_free"),
    ("+32 900 12 345", None, "premium_rate_number"),
    ("+32 78 79 12 34", None, "premium_rate_number"),
    # Switzerland
    ("117", "CH", "emergency_number"),
    ("+41 144", None, "emergency_number"),
    ("+41 21 234 56 78", None, "fixed_line"),
    ("+41 78 123 45 67", None, "mobile"),
    ("+41 800 123 456", None, "toll_free"),
    ("+41 900 123 456", None, "premium_rate_number"),
    ("+41 840 123 456", None, "premium_rate_number"),
    # Austria
    ("133", "AT", "emergency_number"),
    ("+43 1 234567890", None, "fixed_line"),
    ("+43 664 123456", None, "mobile"),
    ("+43 800 123456", None, "toll_free"),
    ("+43 900 123456", None, "premium_rate_number"),
    ("+43 810 123456", None, "premium_rate_number"),
    # Denmark
    ("+45 32 12 34 56", None, "fixed_line_or_mobile"),
    ("+45 34 41 23 45", None, "mobile"),
    ("+45 80 12 34 56", None, "toll_free"),
    ("+45 90 12 34 56", None, "premium_rate_number"),
    # Sweden
    ("90000", "SE", "emergency_number"),
    ("112", "SE", "emergency_number"),
    ("+46 8 12 34 56", None, "fixed_line"),
    ("+46 70 123 45 67", None, "mobile"),
    ("+46 20 12 34 56", None, "toll_free"),
    ("+46 900 12 34 567", None, "premium_rate_number"),
    ("+46 77 123 45 67", None, "premium_rate_number"),
    # Norway
    ("113", "NO", "emergency_number"),
    ("+47 21 23 45 67", None, "fixed_line"),
    ("+47 40 61 23 45", None, "mobile"),
    ("+47 800 12 345", None, "toll_free"),
    ("+47 820 12 345", None, "premium_rate_number"),
    ("+47 810 21 234", None, "premium_rate_number"),
    # Finland
    ("+358 13 1234567", None, "fixed_line"),
    ("+358 41 2345678", None, "mobile"),
    ("+358 800 123456", None, "toll_free"),
    ("+358 600 123456", None, "premium_rate_number"),
    # Poland
    ("997", "PL", "emergency_number"),
    ("+48 12 345 67 89", None, "fixed_line"),
    ("+48 512 345 678", None, "mobile"),
    ("+48 800 123 456", None, "toll_free"),
    ("+48 701 234 567", None, "premium_rate_number"),
    # Czechia
    ("+420 212 345 678", None, "fixed_line"),
    ("+420 601 123 456", None, "mobile"),
    ("+420 800 123 456", None, "toll_free"),
    ("+420 900 123 456", None, "premium_rate_number"),
    # Hungary
    ("+36 1 234 5678", None, "fixed_line"),
    ("+36 20 123 4567", None, "mobile"),
    ("+36 80 123 456", None, "toll_free"),
    ("+36 90 123 456", None, "premium_rate_number"),
    # Romania
    ("+40 21 123 4567", None, "fixed_line"),
    ("+40 712 034 567", None, "mobile"),
    ("+40 800 123 456", None, "toll_free"),
    ("+40 900 123 456", None, "premium_rate_number"),
    # Greece
    ("+30 21 2345 6789", None, "fixed_line"),
    ("+30 691 234 5678", None, "mobile"),
    ("+30 800 123 4567", None, "toll_free"),
    ("+30 909 123 4567", None, "premium_rate_number"),
    # Turkey
    ("155", "TR", "emergency_number"),
    ("+90 212 345 67 89", None, "fixed_line"),
    ("+90 501 234 56 78", None, "mobile"),
    ("+90 800 123 4567", None, "toll_free"),
    ("+90 900 123 4567", None, "premium_rate_number"),
    # Ukraine
    ("+380 3112 34567", None, "fixed_line"),
    ("+380 50 123 4567", None, "mobile"),
    ("+380 800 123 456", None, "toll_free"),
    ("+380 900 212 345", None, "premium_rate_number"),
    # Russia
    ("102", "RU", "emergency_number"),
    ("+7 301 123-45-67", None, "fixed_line"),
    ("+7 912 345-67-89", None, "mobile"),
    ("+7 800 123-45-67", None, "toll_free"),
    ("+7 809 123-45-67", None, "premium_rate_number"),
    # Israel
    ("101", "IL", "emergency_number"),
    ("+972 2-123-4567", None, "fixed_line"),
    ("+972 50-234-5678", None, "mobile"),
    ("+972 1-800-123-456", None, "toll_free"),
    ("+972 1-919-123-456", None, "premium_rate_number"),
    # United Arab Emirates
    ("+971 2 234 5678", None, "fixed_line"),
    ("+971 50 123 4567", None, "mobile"),
    ("+971 800 123456", None, "toll_free"),
    ("+971 900 2 34567", None, "premium_rate_number"),
    # Saudi Arabia
    ("+966 11 234 5678", None, "fixed_line"),
    ("+966 51 234 5678", None, "mobile"),
    ("+966 800 123 4567", None, "toll_free"),
    ("+966 9250 12345", None, "premium_rate_number"),
    # Egypt
    ("122", "EG", "emergency_number"),
    ("+20 2 34567890", None, "fixed_line"),
    ("+20 10 01234567", None, "mobile"),
    ("+20 800 123 4567", None, "toll_free"),
    ("+20 900 123 4567", None, "premium_rate_number"),
    # Nigeria
    ("112", "NG", "emergency_number"),
    ("+234 2033 12 3456", None, "fixed_line"),
    ("+234 802 123 4567", None, "mobile"),
    ("+234 800 1759 1759", None, "toll_free"),
    # Kenya
    ("999", "KE", "emergency_number"),
    ("+254 20 2012345", None, "fixed_line"),
    ("+254 712 123456", None, "mobile"),
    ("+254 800 223 456", None, "toll_free"),
    ("+254 900 223 456", None, "premium_rate_number"),
    # South Africa
    ("10111", "ZA", "emergency_number"),
    ("+27 10 123 4567", None, "fixed_line"),
    ("+27 71 123 4567", None, "mobile"),
    ("+27 80 123 4567", None, "toll_free"),
    ("+27 86 234 5678", None, "premium_rate_number"),
    # India
    ("011 2345 6789", "IN", "fixed_line"),
    ("+91 11 2345 6789", None, "fixed_line"),
    ("+91 112", None, "emergency_number"),
    ("100", "IN", "emergency_number"),
    ("108", "IN", "emergency_number"),
    ("098765 43210", "IN", "mobile"),
    ("+91 81234 56789", None, "mobile"),
    ("+91 1800 12 3456", None, "toll_free"),
    ("+91 1861 123 456 789", None, "premium_rate_number"),
    # Pakistan
    ("15", "PK", "emergency_number"),
    ("+92 21 23456789", None, "fixed_line"),
    ("+92 301 2345678", None, "mobile"),
    ("+92 800 123 45", None, "toll_free"),
    ("+92 900 123 45", None, "premium_rate_number"),
    # Bangladesh
    ("+880 2-7111234", None, "fixed_line"),
    ("+880 1812-345678", None, "mobile"),
    ("+880 800-1234567", None, "toll_free"),
    # Nepal
    ("100", "NP", "emergency_number"),
    ("+977 1-4567890", None, "fixed_line"),
    ("+977 984-1234567", None, "mobile"),
    ("+977 16600101234", None, "toll_free"),
    # China
    ("120", "CN", "emergency_number"),
    ("+86 110", None, "emergency_number"),
    ("+86 10 1234 5678", None, "fixed_line"),
    ("+86 131 2345 6789", None, "mobile"),
    ("+86 800 123 4567", None, "toll_free"),
    ("+86 16812345", None, "premium_rate_number"),
    # Hong Kong
    ("999", "HK", "emergency_number"),
    ("+852 2123 4567", None, "fixed_line"),
    ("+852 5123 4567", None, "mobile"),
    ("+852 800 123 456", None, "toll_free"),
    ("+852 900 12 345 678", None, "premium_rate_number"),
    # Japan
    ("110", "JP", "emergency_number"),
    ("119", "JP", "emergency_number"),
    ("090-1234-5678", "JP", "mobile"),
    ("+81 3-1234-5678", None, "fixed_line"),
    ("+81 90-1234-5678", None, "mobile"),
    ("+81 120-123-456", None, "toll_free"),
    ("+81 990-123-456", None, "premium_rate_number"),
    # South Korea
    ("119", "KR", "emergency_number"),
    ("+82 2-212-3456", None, "fixed_line"),
    ("+82 10-2000-0000", None, "mobile"),
    ("+82 80-123-4567", None, "toll_free"),
    ("+82 60-234-5678", None, "premium_rate_number"),
    # Singapore
    ("995", "SG", "emergency_number"),
    ("+65 6123 4567", None, "fixed_line"),
    ("+65 8123 4567", None, "mobile"),
    ("+65 1800 123 4567", None, "toll_free"),
    ("+65 1900 123 4567", None, "premium_rate_number"),
    # Philippines
    ("+63 2 3234 5678", None, "fixed_line"),
    ("+63 905 123 4567", None, "mobile"),
    ("+63 1800 1 234 5678", None, "toll_free"),
    # Indonesia
    ("+62 21 8350123", None, "fixed_line"),
    ("+62 812-345-678", None, "mobile"),
    ("+62 800 1234567", None, "toll_free"),
    ("+62 809 1 234 567", None, "premium_rate_number"),
    # Thailand
    ("191", "TH", "emergency_number"),
    ("1669", "TH", "emergency_number"),
    ("+66 2 123 4567", None, "fixed_line"),
    ("+66 81 234 5678", None, "mobile"),
    ("+66 1800 123 456", None, "toll_free"),
    ("+66 1900 123 456", None, "premium_rate_number"),
    # Vietnam
    ("+84 210 1234 567", None, "fixed_line"),
    ("+84 912 345 678", None, "mobile"),
    ("+84 1800 123456", None, "toll_free"),
    ("+84 1900 123456", None, "premium_rate_number"),
    # Australia
    ("000", "AU", "emergency_number"),
    ("+61 000", None, "emergency_number"),
    ("106", "AU", "emergency_number"),
    ("0412 345 678", "AU", "mobile"),
    ("1300 123 456", "AU", "premium_rate_number"),
    ("+61 2 1234 5678", None, "fixed_line"),
    ("+61 412 345 678", None, "mobile"),
    ("+61 1800 123 456", None, "toll_free"),
    ("+61 1900 123 456", None, "premium_rate_number"),
    # New Zealand
    ("111", "NZ", "emergency_number"),
    ("+64 111", None, "emergency_number"),
    ("+64 3 234 5678", None, "fixed_line"),
    ("+64 21 123 4567", None, "mobile"),
    ("+64 800 123 456", None, "toll_free"),
    ("+64 900 123 456", None, "premium_rate_number"),
    # Of no country, or of one that does not exist, or no number at all
    ("+883 5100 12345", None, "unsupported_number"),
    ("+800 1234 5678", None, "unsupported_number"),
    ("+881 612 345 678", None, "unsupported_number"),
    ("+870 772 001 234", None, "unsupported_number"),
    ("+979 123 456 789", None, "premium_rate_number"),
    ("+888 1001 2345", None, "invalid_number"),
    ("+999 123 456 789", None, "invalid_number"),
    ("+210 123 456 789", None, "invalid_number"),
    ("+0 415 555 0100", None, "invalid_number"),
    ("+", None, "invalid_number"),
    ("", None, "invalid_number"),
    ("+1", None, "invalid_number"),
    ("911911911911911911911", None, "invalid_number"),
    ("call me", None, "invalid_number"),
    ("+1 415 555 O100", None, "invalid_number"),
    ("tel:+14155550100", None, "invalid_number"),
    ("+14155550100;+14155550111", None, "invalid_number"),
    ("*67 415 555 0100", None, "invalid_number"),
    ("#31#", None, "invalid_number"),
    ("+\u0661\u0664\u0661\u0665\u0665\u0665\u0665\u0660\u0661\u0660\u0660", None, "invalid_number"),
    ("+911", None, "emergency_number"),
    ("+112", None, "emergency_number"),
    ("+999", None, "emergency_number"),
]


def verdict(spelled: str, default_region: str | None) -> str:
    """The kind of the number, or the code of its refusal."""
    try:
        return read_number(spelled, default_region=default_region).kind
    except NumberRefusedError as refused:
        return refused.code


@pytest.mark.parametrize(("spelled", "default_region", "expected"), NUMBERS)
def test_each_number_has_its_verdict(
    spelled: str, default_region: str | None, expected: str
) -> None:
    """A number is called or refused for what it is, however it is written."""
    assert verdict(spelled, default_region) == expected


def test_the_table_covers_the_world() -> None:
    """At least 300 numbers of at least 50 countries, with every kind of verdict that there is."""
    parsed = [phonenumbers.parse(n, region or "US") for n, region, kind in NUMBERS if kind in KINDS]
    countries = {phonenumbers.region_code_for_number(number) for number in parsed}
    assert (len(NUMBERS) >= 300, len(countries) >= 50) == (True, True)


KINDS = set(get_args(NumberKind)) - {"voip"}
