"""Where requests may go, and which money may be asked for there."""

from __future__ import annotations

import pytest

from langchain_oneshot_voice import ConfigurationError
from langchain_oneshot_voice.oneshot.environment import (
    BASE,
    BASE_SEPOLIA,
    PRODUCTION_URL,
    STAGING_URL,
    Environment,
)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8402",
        "http://127.8.9.10",
        "http://localhost:8402",
        "http://[::1]:8402",
        "https://127.0.0.1:8402",
        STAGING_URL,
    ],
)
def test_sandbox_and_staging_pay_in_test_money(url: str) -> None:
    """A program on this machine, and the staging service, are paid on the test chain only."""
    assert Environment.at(url).chain == BASE_SEPOLIA


@pytest.mark.parametrize(
    "url", [PRODUCTION_URL, "https://gateway.example/oneshot", "https://win.oneshotagent.com:8443"]
)
def test_every_other_host_is_held_to_production_terms(url: str) -> None:
    """Production, and whatever stands in front of it, is paid on the real chain."""
    assert Environment.at(url).chain == BASE


@pytest.mark.parametrize(
    "url",
    [
        "http://win.oneshotagent.com",
        "HTTP://win.oneshotagent.com",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://10.0.0.7:8402",
        "http://0.0.0.0:8402",
        "http://128.0.0.1",
    ],
)
def test_plain_http_is_for_this_machine_only(url: str) -> None:
    """Plain http to anything but a loopback address is refused."""
    with pytest.raises(ConfigurationError, match="plain http"):
        Environment.at(url)


@pytest.mark.parametrize(
    "url", ["", "win.oneshotagent.com", "ftp://win.oneshotagent.com", "https://", "file:///etc"]
)
def test_what_is_no_web_address_is_refused(url: str) -> None:
    """An address without a scheme or a host is refused, with an example of a good one."""
    with pytest.raises(ConfigurationError, match=PRODUCTION_URL):
        Environment.at(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2@win.oneshotagent.com",
        "https://win.oneshotagent.com?x=1",
        "https://win.oneshotagent.com#top",
    ],
)
def test_credentials_query_and_fragment_are_refused(url: str) -> None:
    """An address carries scheme, host, port and path; a password in it is not repeated."""
    with pytest.raises(ConfigurationError, match="more than a scheme") as refused:
        Environment.at(url)

    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://[::1",
        "https://gate way.example",
        "https://x:99999",
        "https://x:0",
        "https://ex\tample.com",
    ],
)
def test_what_can_not_be_read_as_an_address_is_refused(url: str) -> None:
    """An address that no request could be sent to is a configuration error, not a crash."""
    with pytest.raises(ConfigurationError):
        Environment.at(url)


def test_trailing_slash_and_space_are_dropped() -> None:
    """What people paste is taken: a slash or a space at the end changes nothing."""
    assert Environment.at(" http://127.0.0.1:8402/ ").base_url == "http://127.0.0.1:8402"


def test_chain_name_is_caip_2() -> None:
    """A chain is named as payment terms name it."""
    assert (BASE.network, BASE_SEPOLIA.network) == ("eip155:8453", "eip155:84532")


def test_the_scheme_is_read_however_it_is_written() -> None:
    """It decides about encryption: a socket that took HTTPS for http would send a token openly."""
    assert Environment.at("HTTPS://gateway.example/x").base_url == "https://gateway.example/x"
