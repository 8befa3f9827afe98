"""Texts for a program whose credential, address, policy or packages can't be used.

They are for the developer or operator of the program. A model reads them only if the problem is
found during a call.
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
"""A problem with a policy's settings or with its file."""

_SETTING_FAULTS: Mapping[SettingFault, str] = {
    "hours_format": "write the hours as '08:00-21:00', or as two times of day",
    "hours_equal": "start and end are equal; to call at any hour, turn the limit off with None, or"
    " with 'off' in a file",
    "hours_zone": "hours are in the local time of the person called: write them without a time"
    " zone",
    "country": "{given!r} is not a country: use ISO 3166 alpha-2, such as 'US' or 'GB'",
    "prefix": "{given!r} is neither a number in E.164 nor the start of one: write '+', country code"
    " and the first digits, such as +1415",
    "time_zone": "{given!r} is not a time zone that this machine knows: use an IANA name such as"
    " 'America/New_York'; where the system has no time zone database, install the 'tzdata' package",
    "file_type": "its name has to end in .toml or .json",
    "file_shape": "it does not contain an object of settings",
    "file_repeats": "a setting is given twice",
}


def setting_fault(fault: SettingFault, **facts: str) -> str:
    """A problem with a policy, as part of a sentence.

    Args:
        fault: the problem.
        facts: values for the text, such as the value that was `given`.
    """
    return _SETTING_FAULTS[fault].format(**facts)


def unknown_setting(named: Sequence[str], known: Sequence[str], close: Sequence[str]) -> str:
    """A policy was given settings that do not exist.

    Args:
        named: the unknown settings, in quotation marks.
        known: all settings.
        close: settings with a similar name.
    """
    meant = f": did you mean {' or '.join(close)}?" if close else "."
    return f"a policy has no {', '.join(named)}{meant} The settings are: {', '.join(known)}"


def unknown_arguments(what: str, meant: Mapping[str, Sequence[str]]) -> str:
    """A class was given arguments that do not exist.

    Args:
        what: the class's name.
        meant: each unknown argument, with arguments of a similar name.
    """
    faults = [
        f"`{name}` is not an argument of {what}"
        + (f"; did you mean `{close[0]}`?" if close else ".")
        for name, close in meant.items()
    ]
    return " ".join(faults)


def setting_unusable(name: str, expected: str) -> ConfigurationError:
    """A setting of a tool or a caller has a wrong type or value.

    Args:
        name: the setting's name.
        expected: the accepted values.
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
    """The lease is not longer than the heartbeat interval, so a live worker would count as dead."""
    return ConfigurationError(
        f"A lease of {lease:g} s would expire between two heartbeats, which are {heartbeat:g} s"
        " apart.",
        advice="Make the lease of Timing several times as long as its heartbeat.",
    )


def not_picklable(what: str) -> str:
    """The object holds a secret and connections of this process."""
    return (
        f"{what} can't be pickled: it may hold a key. Create a new one from the environment in the"
        " process that uses it."
    )


def not_configurable(what: str) -> str:
    """LangChain would build a new tool for each run, without this tool's settings.

    Args:
        what: the tool's class.
    """
    return (
        f"{what} has no configurable_fields: a run would get a tool without this tool's settings."
        " Pass a function of the run's config as `policy` or `credential`, or make two tools."
    )


def setting_of_the_tool(name: str) -> str:
    """A setting of the tool was passed to a run, which would ignore it."""
    return (
        f"`{name}` is a setting of the tool and not of a run: pass it to the tool, or to a copy of"
        f" it, tool.model_copy(update={{{name!r}: ...}})."
    )


def policy_unusable(source: str | None, faults: Sequence[str]) -> ConfigurationError:
    """A policy's settings are unknown or invalid.

    Args:
        source: the settings' file; `None` for a mapping.
        faults: all problems.
    """
    of = f" in {source}" if source else ""
    return ConfigurationError(
        f"The policy{of} can't be used: {'; '.join(faults)}.",
        advice="The program's policy has to be corrected.",
    )


def policy_file_unreadable(path: str, why: str) -> ConfigurationError:
    """A policy's file is missing, or it is not valid TOML or JSON."""
    return ConfigurationError(
        f"The policy file {path} can't be read: {why}.",
        advice="The file, or its path in the program, has to be corrected.",
    )


def call_time_zone_unusable(why: str) -> ConfigurationError:
    """The application gave a call a time zone that does not exist."""
    return ConfigurationError(
        f"The time zone given for a call: {why}.",
        advice="The program has to give a time zone that exists.",
    )


def no_credential() -> ConfigurationError:
    """No credential was given."""
    return ConfigurationError(
        "There is no credential to pay with.",
        advice="Pass private_key (or set ONESHOT_WALLET_PRIVATE_KEY), or pass access_token (or set"
        " ONESHOT_ACCESS_TOKEN). If you have neither, use the sandbox, which needs no wallet: run"
        " `oneshot-voice sandbox`, or `make demo`.",
    )


def http_package_unknown(chosen: str, known: Sequence[str]) -> ConfigurationError:
    """The environment chooses an HTTP package that is not supported."""
    return ConfigurationError(
        f"ONESHOT_VOICE_HTTP is {chosen[:40]!r}, which is not a supported HTTP package.",
        advice=f"Leave it unset, or set it to {' or '.join(known)}.",
    )


def http_package_missing(chosen: str) -> ConfigurationError:
    """The HTTP package that the environment chooses is not installed."""
    return ConfigurationError(
        f"The HTTP package {chosen or 'httpx'} is not installed.",
        advice="Install it: pip install 'langchain-oneshot-voice[fast]'.",
    )


def http_not_set_up(fault: str) -> ConfigurationError:
    """The HTTP client can't be created: a proxy or certificate file of the environment is wrong."""
    return ConfigurationError(
        f"Requests can't be sent ({fault}).",
        advice="Check the proxies (HTTPS_PROXY, ALL_PROXY) and SSL_CERT_FILE in the environment.",
    )


def two_credentials() -> ConfigurationError:
    """Two credentials were given, so it is not clear which one pays."""
    return ConfigurationError(
        "Both a private key and an access token were given.",
        advice="Pass only one: the key pays from the wallet, the token from prepaid credits.",
    )


def private_key_unusable() -> ConfigurationError:
    """The private key has the wrong format."""
    return ConfigurationError(
        "The private key can't be used: a key is 64 hexadecimal digits, with or without '0x'.",
        advice="Check ONESHOT_WALLET_PRIVATE_KEY, or try the sandbox, which has its own key (make"
        " demo).",
    )


def access_token_unusable() -> ConfigurationError:
    """The access token has the wrong format."""
    return ConfigurationError(
        "The access token can't be used: a token is 'oneshot_' and 64 lowercase hexadecimal"
        " digits.",
        advice="Check ONESHOT_ACCESS_TOKEN.",
    )


def base_url_unreadable(example: str) -> ConfigurationError:
    """The address of the service is not a URL.

    Args:
        example: a valid address.
    """
    return ConfigurationError(
        "base_url is not a web address.",
        advice=f"Use https, such as {example}, or the address of a sandbox.",
    )


def base_url_too_long() -> ConfigurationError:
    """The address contains credentials, a query or a fragment."""
    return ConfigurationError(
        "base_url contains more than a scheme, a host, a port and a path.",
        advice="Remove credentials, '?' and '#'.",
    )


def base_url_unencrypted(host: str | None) -> ConfigurationError:
    """The address is unencrypted http to another machine."""
    return ConfigurationError(
        f"base_url is plain http to {host}: others could read payments and proofs.",
        advice="Use https; plain http is only allowed for a sandbox on this machine (127.0.0.1).",
    )


def outcome_schema_unusable() -> ConfigurationError:
    """The outcome schema is neither a pydantic model nor a JSON schema."""
    return ConfigurationError(
        "outcome_schema is neither a pydantic model class nor a JSON schema with `properties`.",
        code="outcome_schema_unusable",
        advice="The program has to pass one of the two.",
    )


def frame_needs_pandas() -> ConfigurationError:
    """The program asked for a DataFrame, but pandas is not installed."""
    return ConfigurationError(
        "to_pandas() needs pandas.",
        code="missing_package",
        advice="Install it: pip install pandas. `rows` and `days` work without it.",
    )


def plot_needs_matplotlib() -> ConfigurationError:
    """The user asked for a plot, but matplotlib is not installed."""
    return ConfigurationError(
        "The plot needs matplotlib.",
        code="missing_package",
        advice="Install it: pip install 'langchain-oneshot-voice[plot]'.",
    )


def interrupted() -> str:
    """The user stopped a command with Ctrl-C."""
    return (
        "Stopped. If a call was in progress, its outcome can still be read: oneshot-voice recover"
    )


def demo_interrupted() -> str:
    """The user stopped the demo with Ctrl-C, and its sandbox ended with it."""
    return (
        "Stopped. The sandbox's call ended with it, so nothing is left to do. After a real call,"
        " run: oneshot-voice recover"
    )
