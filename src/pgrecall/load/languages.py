"""Languages as documents name them (ISO 639, "de-AT"), and as Postgres does ("german")."""

from __future__ import annotations

#: The text search configurations that Postgres has since version 14, by ISO 639-1 code.
_CONFIGURATIONS = {
    "ar": "arabic",
    "ca": "catalan",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "eu": "basque",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hi": "hindi",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "nb": "norwegian",
    "ne": "nepali",
    "nl": "dutch",
    "nn": "norwegian",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
    "yi": "yiddish",
}


def configuration(lang: object) -> str | None:
    """The text search configuration of a language tag; None for what Postgres does not know."""
    if not isinstance(lang, str):
        return None
    return _CONFIGURATIONS.get(lang.strip().lower().replace("_", "-").partition("-")[0])
