"""What is wrong with the program around the tool: its credential, address, policy or packages.

These texts are for the person who writes or runs the program. A model reads them too when a fault
shows only at a call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from langchain_oneshot_voice.errors import ConfigurationError

SettingFault = Literal[
    "hours_format",
    "hours_equal",
    "hours_zone",
    "country",
    "prefix",
    "time_zone",
    "file_type",
    "file_shape",
    "file_repeats",
]
"""One thing that is wrong with a policy's settings or with its file."""

_SETTING_FAULTS: Mapping[SettingFault, str] = {
    "hours_format": "write the hours as '08:00-21:00', or as two times of day",
    "hours_equal": "start and end are equal; to call at any hour, turn the limit off",
    "hours_zone": "hours are by the clock of the person called, without a time zone",
    "country": "{given!r} is not a country: use ISO 3166 alpha-2, such as 'US' or 'GB'",
    "prefix": "{given!r} is neither a number in E.164 nor the start of one: write '+', country code"
    " and the first digits, such as +1415",
    "time_zone": "{given!r} is not a time zone that this machine knows: use an IANA name such as"
    " 'America/New_York'; where the system has no time zone database, install the 'tzdata' package",
    "file_type": "its name ends in neither .toml nor .json",
    "file_shape": "it does not hold an object of settings",
    "file_repeats": "a setting is given twice",
}


def setting_fault(fault: SettingFault, **facts: str) -> str:
    """One thing that is wrong with a policy, as a part of a sentence.

    Args:
        fault: what it is.
        facts: what the text names, such as the value that was `given`.
    """
    return _SETTING_FAULTS[fault].format(**facts)


def unknown_setting(named: Sequence[str], known: Sequence[str], close: Sequence[str]) -> str:
    """A policy was given settings that it does not have.

    Args:
        named: the unknown ones, as Python writes them.
        known: all that there are.
        close: known ones with a similar name.
    """
    meant = f": did you mean {' or '.join(close)}?" if close else "."
    return f"a policy has no {', '.join(named)}{meant} The settings are: {', '.join(known)}"


def unknown_arguments(what: str, meant: Mapping[str, Sequence[str]]) -> str:
    """Something was made with arguments that it does not have.

    Args:
        what: the class.
        meant: each unknown argument, and the known ones with a similar name.
    """
    faults = [
        f"`{name}` is not an argument of {what}"
        + (f"; did you mean `{close[0]}`?" if close else ".")
        for name, close in meant.items()
    ]
    return " ".join(faults)


def setting_unusable(name: str, expected: str) -> ConfigurationError:
    """A setting of a tool or a caller is not what it has to be.

    Args:
        name: the setting.
        expected: what it may be.
    """
    return ConfigurationError(
        f"`{name}` has to be {expected}.", advice="The program has to be corrected."
    )


def timing_unusable(name: str) -> ConfigurationError:
    """A time is not a number of seconds."""
    return ConfigurationError(
        f"`{name}` of Timing has to be a number of seconds above zero, at most 1e9.",
        advice="The program has to be corrected.",
    )


def lease_too_short(lease: float, heartbeat: float) -> ConfigurationError:
    """A worker would count as dead between two of its heartbeats."""
    return ConfigurationError(
        f"A lease of {lease:g} s would lapse between two heartbeats, which are {heartbeat:g} s"
        " apart.",
        advice="Make Timing's lease some times as long as its heartbeat.",
    )


def not_picklable(what: str) -> str:
    """It holds a secret, and connections that belong to this process."""
    return (
        f"{what} can't be pickled: it may hold a key. Make it anew in the process that uses it,"
        " from the environment."
    )


def not_configurable(what: str) -> str:
    """LangChain would build another tool for each run, which knows nothing of this one's settings.

    Args:
        what: the tool's class.
    """
    return (
        f"{what} has no configurable_fields: a run would get a tool without this one's settings."
        " Give a function of the run's config as `policy` or `credential`, or make two tools."
    )


def setting_of_the_tool(name: str) -> str:
    """A setting was given to a run of the tool, where it would be ignored."""
    return (
        f"`{name}` is a setting of the tool and not of one run of it: give it to the tool, or to"
        f" a copy of it, tool.model_copy(update={{{name!r}: ...}})."
    )


def policy_unusable(source: str | None, faults: Sequence[str]) -> ConfigurationError:
    """A policy's settings are unknown or wrong.

    Args:
        source: the file that they are in; `None` for a mapping.
        faults: all that is wrong.
    """
    of = f" in {source}" if source else ""
    return ConfigurationError(
        f"The policy{of} can't be used: {'; '.join(faults)}.",
        advice="The program's policy has to be corrected.",
    )


def policy_file_unreadable(path: str, why: str) -> ConfigurationError:
    """A policy's file is missing, or is not TOML or JSON."""
    return ConfigurationError(
        f"The policy file {path} can't be read: {why}.",
        advice="The file, or its path in the program, has to be corrected.",
    )


def call_time_zone_unusable(why: str) -> ConfigurationError:
    """The application named a time zone for a call that does not exist."""
    return ConfigurationError(
        f"The time zone given for a call: {why}.",
        advice="The program has to give a time zone that exists.",
    )


def no_credential() -> ConfigurationError:
    """Nothing was given to pay with."""
    return ConfigurationError(
        "There is no credential to pay with.",
        advice="Give private_key (or set ONESHOT_WALLET_PRIVATE_KEY), or access_token (or set"
        " ONESHOT_ACCESS_TOKEN). Without either, use the sandbox, which needs no wallet: run"
        " `oneshot-voice sandbox`, or `make demo`.",
    )


def http_package_unknown(chosen: str, known: Sequence[str]) -> ConfigurationError:
    """The environment asks for an HTTP package that can't be used."""
    return ConfigurationError(
        f"ONESHOT_VOICE_HTTP is {chosen[:40]!r}, which is no package that requests can go over.",
        advice=f"Leave it unset, or set it to {' or '.join(known)}.",
    )


def http_package_missing(chosen: str) -> ConfigurationError:
    """The HTTP package that the environment asks for is not installed."""
    return ConfigurationError(
        f"{chosen or 'httpx'}, which requests go over, is not installed.",
        advice="Install it: pip install 'langchain-oneshot-voice[fast]'.",
    )


def http_not_set_up(fault: str) -> ConfigurationError:
    """Connections can't be made: a proxy or a certificate file of the environment is no use."""
    return ConfigurationError(
        f"Requests can't be sent ({fault}).",
        advice="Check the proxies (HTTPS_PROXY, ALL_PROXY) and SSL_CERT_FILE in the environment.",
    )


def two_credentials() -> ConfigurationError:
    """A key and a token were given, so it is not clear what pays."""
    return ConfigurationError(
        "Both a private key and an access token were given.",
        advice="Give one: the key pays from the wallet, the token from prepaid credits.",
    )


def private_key_unusable() -> ConfigurationError:
    """The private key is not one."""
    return ConfigurationError(
        "The private key can't be used: a key is 64 hexadecimal digits, with or without '0x'.",
        advice="Check ONESHOT_WALLET_PRIVATE_KEY, or try the sandbox, which brings a key of its own"
        " (make demo).",
    )


def access_token_unusable() -> ConfigurationError:
    """The access token is not one."""
    return ConfigurationError(
        "The access token can't be used: a token is 'oneshot_' and 64 lowercase hexadecimal"
        " digits.",
        advice="Check ONESHOT_ACCESS_TOKEN.",
    )


def base_url_unreadable(example: str) -> ConfigurationError:
    """The address of the service is not one.

    Args:
        example: an address that works.
    """
    return ConfigurationError(
        "base_url is not a web address.",
        advice=f"Use https, such as {example}, or the address of a sandbox.",
    )


def base_url_too_long() -> ConfigurationError:
    """The address carries credentials, a query or a fragment."""
    return ConfigurationError(
        "base_url carries more than a scheme, a host, a port and a path.",
        advice="Leave out credentials, '?' and '#'.",
    )


def base_url_unencrypted(host: str | None) -> ConfigurationError:
    """The address is plain http to another machine."""
    return ConfigurationError(
        f"base_url is plain http to {host}: others could read payments and proofs.",
        advice="Use https; plain http is for a sandbox on this machine (127.0.0.1).",
    )


def outcome_schema_unusable() -> ConfigurationError:
    """The schema to fill from calls is neither of the two kinds."""
    return ConfigurationError(
        "outcome_schema is neither a pydantic model class nor a JSON schema with `properties`.",
        code="outcome_schema_unusable",
        advice="The program has to pass one of the two.",
    )


def frame_needs_pandas() -> ConfigurationError:
    """A DataFrame was asked for and pandas is not installed."""
    return ConfigurationError(
        "to_pandas() needs pandas.",
        code="missing_package",
        advice="Install it: pip install pandas. `rows` and `days` work without it.",
    )


def plot_needs_matplotlib() -> ConfigurationError:
    """A plot was asked for and matplotlib is not installed."""
    return ConfigurationError(
        "The plot needs matplotlib.",
        code="missing_package",
        advice="Install it: pip install 'langchain-oneshot-voice[plot]'.",
    )


def interrupted() -> str:
    """A command of the program was stopped by Ctrl-C."""
    return "Stopped. If a call was under way, its outcome can still be read: oneshot-voice recover"


def demo_interrupted() -> str:
    """The demo was stopped by Ctrl-C; its sandbox has ended with it."""
    return (
        "Stopped. The sandbox's call ended with it, so nothing is left to do; after a real call:"
        " oneshot-voice recover"
    )
